"""Digits and networks trained on them once for all compression tests."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from orchestrator.compression.data import Preprocessing
from orchestrator.compression.training.classifier import train_classifier
from orchestrator.datasets import Splits
from orchestrator.datasets.digits import load_digits
from tests.unit.compression.networks import Residual, small_network


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Spinning worker threads make tiny networks an order of magnitude slower where cores are shared."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> Splits:
    return load_digits()


@pytest.fixture(scope="session")
def preprocessing(digits: Splits) -> Preprocessing:
    return Preprocessing.of(digits)


@pytest.fixture(scope="session")
def _trained(digits: Splits, preprocessing: Preprocessing) -> dict[str, nn.Module]:
    networks: dict[str, nn.Module] = {}
    for name, make in (("residual", Residual), ("small", small_network)):
        torch.manual_seed(1)
        networks[name] = make()
        train_classifier(
            networks[name],
            digits.train,
            preprocessing=preprocessing,
            epochs=8,
            batch_size=64,
            learning_rate=0.1,
            seed=1,
        )
    return networks


@pytest.fixture
def trained(_trained: dict[str, nn.Module]) -> Callable[[str], nn.Module]:
    """A copy of the trained network "residual" or "small", free to be changed."""
    return lambda name: copy.deepcopy(_trained[name])
