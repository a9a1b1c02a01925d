"""The trained fp32 networks that everything is compared with: made once, kept by the digest of all they depend on."""

from __future__ import annotations

import hashlib
import inspect
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from runtime_peers.environments import CACHE
from torch import nn

from compression_peers.networks import NETWORKS
from orchestrator.compression.checkpoint import load_checkpoint, save_checkpoint
from orchestrator.compression.data import Preprocessing
from orchestrator.compression.training import loop
from orchestrator.compression.training.classifier import train_classifier
from orchestrator.datasets import Split, Splits
from orchestrator.datasets.corruptions import Corruption
from orchestrator.datasets.fashion_mnist import load_fashion_mnist, load_field

Say = Callable[[str], None]


@dataclass(frozen=True)
class Training:
    epochs: int
    learning_rate: float = 0.1
    batch_size: int = 128


QUICK = {
    "resnet8": Training(2),
    "ds-cnn": Training(2),
    "mlp": Training(5, learning_rate=0.03),
    "vit": Training(5, learning_rate=0.05),
}
FULL = {
    "resnet8": Training(8),
    "ds-cnn": Training(8),
    "mlp": Training(15, learning_rate=0.03),
    "vit": Training(10, learning_rate=0.05),
}
CORRUPTIONS = (
    Corruption((("gaussian_noise", 30.0),)),
    Corruption((("box_blur", 1.0),)),
    Corruption((("contrast", 0.5),)),
)
CORRUPTED_COUNT = 2_000
FAIR = {
    "resnet8": 0.91,
    "ds-cnn": 0.90,
    "mlp": 0.88,
    "vit": 0.87,
}  # fp32 accuracy below which a full run proves nothing


@dataclass(frozen=True)
class Data:
    """Splits, and what everything is judged on: all 10,000 published test images, `certify` first.

    Attributes:
        test: clean.
        everything: `test`, then its first 2,000 images under each of `CORRUPTIONS`.
    """

    splits: Splits
    test: Split
    everything: Split

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing.of(self.splits)

    def marks(self, correct: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.bool_], dict[str, float]]:
        """Take answers to `everything` apart: those to `test`, and the accuracy under each corruption."""
        parts = np.split(correct[len(self.test) :], len(CORRUPTIONS))
        return correct[: len(self.test)], {
            str(kind): float(part.mean()) for kind, part in zip(CORRUPTIONS, parts, strict=True)
        }


def load_data() -> Data:
    splits = load_fashion_mnist()
    test = _joined([splits.certify, load_field()])
    some = test.take(slice(0, CORRUPTED_COUNT))
    corrupted = [Split(kind.apply(some.inputs), some.labels) for kind in CORRUPTIONS]
    return Data(splits, test, _joined([test, *corrupted]))


def _joined(splits: list[Split]) -> Split:
    return Split(np.concatenate([s.inputs for s in splits]), np.concatenate([s.labels for s in splits]))


def ensure(name: str, seed: int, training: Training, data: Data, say: Say) -> nn.Module:
    """The trained network, in evaluation mode."""
    model, path = _start(name, seed, training, data)
    if path.exists():
        load_checkpoint(model, path.read_bytes())
        return model.eval()
    started = time.monotonic()
    model = model.to(memory_format=torch.channels_last)  # a third faster than torch's own order
    train_classifier(
        model,
        data.splits.train,
        preprocessing=data.preprocessing,
        seed=seed,
        **asdict(training),
        on_progress=lambda done, message: say(f"{name}, seed {seed}: {message}"),
    )
    say(f"== trained {name}, seed {seed}, in {time.monotonic() - started:.0f} s")
    model = model.to(memory_format=torch.contiguous_format)
    write_whole(path, save_checkpoint(model))
    return model


def is_kept(name: str, seed: int, training: Training, data: Data) -> bool:
    """Whether `ensure` need not train it."""
    return _start(name, seed, training, data)[1].exists()


def _start(name: str, seed: int, training: Training, data: Data) -> tuple[nn.Module, Path]:
    """The network before training, and where it is kept afterwards."""
    torch.manual_seed(seed)
    model = NETWORKS[name]()
    return model, CACHE / "teachers" / f"{name}-{seed}-{_digest(model, seed, training, data.splits.train)}"


def _digest(model: nn.Module, seed: int, training: Training, train: Split) -> str:
    """Over the architecture, what trains it, and the samples."""
    sources = [inspect.getsource(part) for part in (train_classifier, loop.Schedule, loop.minimise, loop.one_cycle)]
    parts = [repr(model), repr(training), str(seed), torch.__version__, train.digest(), *sources]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def write_whole(path: Path, content: bytes) -> None:
    """All of it or nothing, whenever the run is cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    os.replace(partial, path)
