"""FIGS of imodels (sums of greedy trees) on hard labels: python figs.py FOLDER, in an environment of its own.

The folder holds train.npy, labels.npy, test.npy and job.json with the number of splits; answers go to answers.npy. FIGS
knows two classes, so more of them are one against the rest, which share the splits evenly.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np


def main(folder: Path) -> None:
    from imodels import FIGSClassifier

    train, labels, test = (np.load(folder / f"{name}.npy") for name in ("train", "labels", "test"))
    splits = json.loads((folder / "job.json").read_text())["splits"]
    classes = np.unique(labels)
    if len(classes) == 2:
        model = FIGSClassifier(max_rules=splits, random_state=0).fit(train, labels == classes[1])
        answers = classes[(model.predict_proba(test)[:, 1] > 0.5).astype(int)]
    else:
        shares = [
            FIGSClassifier(max_rules=splits // len(classes), random_state=0)
            .fit(train, labels == wanted)
            .predict_proba(test)[:, 1]
            for wanted in classes
        ]
        answers = classes[np.argmax(shares, axis=0)]
    np.save(folder / "answers.npy", answers)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
