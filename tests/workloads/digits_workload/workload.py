"""User code as a job ships it: the digits, a tiny teacher and a tinier student, a table, callables that go wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from shapes import network  # a second module of the working directory
from sklearn.datasets import load_breast_cancer
from torch import nn

from orchestrator.datasets import Table
from orchestrator.datasets.digits import load_digits
from orchestrator.datasets.splits import Splits


def load_data(seed: int = 0) -> Splits:
    return load_digits(seed=seed)


def teacher() -> nn.Module:
    return network(width=8)


def student() -> nn.Module:
    return network(width=6)


def load_cells() -> Splits:
    bunch = load_breast_cancer()
    return Table(
        rows=bunch.data.astype(np.float32),
        classes=bunch.target.astype(np.int64),
        features=[str(name) for name in bunch.feature_names],
        labels=[str(name) for name in bunch.target_names],
    ).split()


def dense() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 2))


def broken() -> nn.Module:
    raise ValueError("this teacher does not exist")


def nothing() -> None:
    return None


def teacher_that_was_here() -> nn.Module:
    """Leaves a file in the home folder of the node it is built on."""
    (Path.home() / "was-here").touch()
    return teacher()
