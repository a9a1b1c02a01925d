"""Tables as data: networks and rules take rows of floats as they are, and see on a device what they learned from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_wine
from torch import nn

from edge_agent.runtime import available_paths
from orchestrator.compression.artifact import Artifact
from orchestrator.compression.data import Preprocessing
from orchestrator.compression.errors import QuantizationError
from orchestrator.compression.evaluation import evaluate, evaluate_network, predict
from orchestrator.compression.pipeline import compress
from orchestrator.compression.recipe import Recipe, Scheme
from orchestrator.compression.training.classifier import train_classifier
from orchestrator.datasets import Splits, Table
from orchestrator.datasets.errors import DatasetFormatError
from orchestrator.jobs.orders import RULES
from orchestrator.jobs.repair_data import raw_of_row
from orchestrator.jobs.rules_tasks import with_rules
from orchestrator.spec import RulesSpec

WINE = load_wine()
ROWS = WINE.data.astype(np.float32)
TABLE = Table(
    rows=ROWS,
    classes=WINE.target.astype(np.int64),
    features=[str(name) for name in WINE.feature_names],
    labels=[str(name) for name in WINE.target_names],
)


@pytest.fixture(scope="module")
def wine() -> Splits:
    return TABLE.split()


@pytest.fixture(scope="module")
def network(wine: Splits) -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(13, 12), nn.ReLU(), nn.Linear(12, 3))
    train_classifier(
        network, wine.train, preprocessing=Preprocessing.of(wine), seed=0, epochs=60, batch_size=16, learning_rate=0.1
    )
    return network.eval()


def answers_to_rows(artifact: Artifact, rows: np.ndarray, path: str) -> np.ndarray:
    engine = artifact.load(path=path)
    output = np.frombuffer(engine.infer_batch(rows.astype("<f4").tobytes(), raw=False), np.int8)
    return output.reshape(len(rows), -1)


@pytest.mark.parametrize("scheme", list(Scheme))
def test_a_network_takes_rows_as_an_application_has_them_and_answers_as_it_was_judged(
    wine: Splits, network: nn.Module, scheme: Scheme
) -> None:
    artifact = compress(network, wine, Recipe(scheme=scheme), name="wine", max_accuracy_drop=0.1)
    assert wine.features is not None
    codes = wine.features.codes(ROWS)
    whole = replace(wine.train, inputs=codes, labels=TABLE.classes)
    for path in available_paths():
        assert (answers_to_rows(artifact, ROWS, path).argmax(axis=1) == predict(artifact.load(path=path), whole)).all()
    assert evaluate(artifact, wine.choose).accuracy >= 0.85
    fp32 = evaluate_network(network, wine.choose, preprocessing=Preprocessing.of(wine))
    assert fp32.accuracy >= 0.85


def test_rules_name_the_columns_and_their_own_units(wine: Splits, network: nn.Module) -> None:
    compressed = compress(network, wine, Recipe(), name="wine", max_accuracy_drop=0.1)
    spec = RulesSpec(rules=12, trees=1, depth=4, fidelity_floor=0.7)
    artifact, figures = with_rules(compressed, wine, spec, seed=0)
    text = figures[RULES]["text"]
    conditions = [line for line in text.splitlines() if line.startswith("if ")]
    named = [name for name in TABLE.features if any(name in line for line in conditions)]
    assert named
    assert "feature 0" not in text
    for name in named:  # thresholds lie within the column, not on the steps
        column = ROWS[:, TABLE.features.index(name)]
        words = next(line for line in conditions if name in line).split(name)[1].split()
        assert column.min() - np.ptp(column) <= float(words[1].rstrip(":")) <= column.max() + np.ptp(column)
    assert artifact.size_bytes < 2000
    right = answers_to_rows(artifact, ROWS, "reference").argmax(axis=1) == TABLE.classes
    assert right.mean() > 0.8


@given(seed=st.integers(0, 2**32), levels=st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_equal_rows_end_in_one_split_and_steps_are_spread_by_train_alone(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, levels, (400, 4)).astype(np.float32)
    table = Table(rows=rows, classes=np.zeros(400, np.int64), features="abcd", labels=["one"])
    try:
        splits = table.split(seed=seed % 2**32)
    except DatasetFormatError:
        assert levels < 4  # hardly anything is distinct
        return
    assert sum(len(split) for split in splits.named().values()) == 400  # and disjoint, or `Splits` had refused
    assert table.split(seed=seed % 2**32).digest() == splits.digest()


def test_the_names_and_steps_of_features_are_part_of_what_the_data_is(wine: Splits) -> None:
    assert wine.features is not None
    renamed = replace(wine.features, names=tuple(reversed(wine.features.names)))
    assert replace(wine, features=renamed).digest() != wine.digest()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"features": ["alcohol"]}, "1 names do not fit 13 features"),
        ({"features": ["alcohol"] * 13}, "all different"),
        ({"classes": WINE.target[:5].astype(np.int64)}, "do not fit together"),
        ({"rows": np.where(np.arange(13) == 2, np.nan, ROWS)}, "'ash' is not finite"),
        ({"rows": ROWS[:2], "classes": WINE.target[:2].astype(np.int64)}, "too few"),
        ({"labels": ["one", "two"]}, "there are 2 classes"),
    ],
)
def test_a_table_that_does_not_fit_together_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(DatasetFormatError, match=words):
        replace(TABLE, **change).split()  # type: ignore[arg-type]


def test_shares_that_are_not_shares_are_refused() -> None:
    with pytest.raises(DatasetFormatError, match="together 1"):
        TABLE.split(shares=(0.5, 0.1, 0.1, 0.1))


def test_a_table_whose_network_sees_other_steps_is_refused(wine: Splits, network: nn.Module) -> None:
    other = replace(wine, mean=(0.3,) * 13)
    with pytest.raises(QuantizationError, match="steps of a table"):
        compress(network, other, Recipe(), name="wine", max_accuracy_drop=None)


def test_a_row_that_a_device_returned_becomes_what_splits_hold(wine: Splits) -> None:
    assert wine.features is not None
    row = ROWS[3].astype("<f4")
    assert raw_of_row(row.tobytes(), wine.features) == wine.features.codes(ROWS[3:4]).tobytes()
    assert raw_of_row(row.tobytes()[:-1], wine.features) == b""
    assert raw_of_row(np.where(np.arange(13) == 1, np.nan, row).astype("<f4").tobytes(), wine.features) == b""
