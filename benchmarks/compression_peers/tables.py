"""scikit-learn's tables with a network trained on them, fold by fold, and trees that learn from its hard labels."""

from __future__ import annotations

import json
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from runtime_peers import environments
from runtime_peers.conversions import environment_variables

from compression_peers.exchange import PeerError, Say

FOLDS = 5
RULES = 32
TABLES = ("breast cancer", "wine")

Answers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows to learn from and rows held out; `teacher` is a network that knows the labels of the first alone."""

    train: npt.NDArray[np.float32]
    test: npt.NDArray[np.float32]
    labels: Answers  # of train
    teacher: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]]

    @property
    def hard(self) -> Answers:
        """What the teacher answers to the rows to learn from."""
        return self.teacher(self.train).argmax(axis=1)

    @property
    def wanted(self) -> Answers:
        """What it answers to those held out."""
        return self.teacher(self.test).argmax(axis=1)


def folds(table: str, seed: int) -> Iterator[Fold]:
    """Every row is held out once."""
    from sklearn.datasets import load_breast_cancer, load_wine
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import StratifiedKFold
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = {"breast cancer": load_breast_cancer, "wine": load_wine}[table]()
    rows, labels = data.data.astype(np.float32), data.target.astype(np.int64)
    for inside, outside in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(rows, labels):
        network = MLPClassifier((32,), alpha=1e-2, max_iter=600, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            teacher = make_pipeline(StandardScaler(), network).fit(rows[inside], labels[inside])
        yield Fold(rows[inside], rows[outside], labels[inside], teacher.predict_proba)


def cart(fold: Fold, targets: Answers) -> Answers:
    """scikit-learn's tree with as many leaves as there may be rules."""
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_leaf_nodes=RULES, random_state=0).fit(fold.train, targets)
    return np.asarray(tree.predict(fold.test))


def figs(fold: Fold, say: Say) -> Answers:
    """imodels' FIGS with as many splits as `RULES` leaves have at most.

    Raises:
        PeerError: it is not there or failed.
    """
    try:
        python = environments.ensure("imodels", say)
    except environments.BuildError as error:
        raise PeerError(f"not installed: {error}") from error
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what, array in (("train", fold.train), ("labels", fold.hard), ("test", fold.test)):
            np.save(folder / f"{what}.npy", array)
        (folder / "job.json").write_text(json.dumps({"splits": RULES - 1}))
        command = [str(python), str(Path(__file__).with_name("peers") / "figs.py"), name]
        done = subprocess.run(command, env=environment_variables(), capture_output=True, text=True)
        if done.returncode:
            raise PeerError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
        return np.load(folder / "answers.npy")
