"""From uint8 images to the tensors a network sees. The split types need no torch: see `orchestrator.datasets`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from orchestrator.compression.errors import DataError, PreprocessingError
from orchestrator.datasets.feature_grid import FeatureGrid
from orchestrator.datasets.splits import Split, Splits, require_disjoint

__all__ = [
    "Preprocessing",
    "Split",
    "Splits",
    "images_to_tensor",
    "labels_to_tensor",
    "require_classes",
    "require_disjoint",
    "require_samples",
]


@dataclass(frozen=True)
class Preprocessing:
    """x = (pixel / 255 - mean) / std, for each channel. The compressed model has it built in as a table.

    Of tabular data `features` is how a device makes pixels of numbers, which is built in too.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    features: FeatureGrid | None = None

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std):
            raise PreprocessingError(f"mean and std need one entry per channel, found {self.mean} and {self.std}")
        if not all(map(math.isfinite, self.mean)) or not all(math.isfinite(s) and s > 0 for s in self.std):
            raise PreprocessingError(f"mean must be finite, std finite and positive: {self.mean} and {self.std}")

    @classmethod
    def of(cls, splits: Splits) -> Preprocessing:
        return cls(splits.mean, splits.std, splits.features.grid if splits.features else None)

    def table(self) -> npt.NDArray[np.float64]:
        """What each of the 256 pixel values becomes: float64 [C, 256]."""
        pixels = np.arange(256, dtype=np.float64) / 255
        mean, std = np.array(self.mean, np.float64), np.array(self.std, np.float64)
        return np.asarray((pixels - mean[:, np.newaxis]) / std[:, np.newaxis])


def images_to_tensor(inputs: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> Tensor:
    """uint8 [N, H, W, C] to normalised float32 [N, C, H, W]."""
    channels = inputs.shape[-1]
    if channels != len(preprocessing.mean):
        raise PreprocessingError(f"images have {channels} channel(s), mean and std {len(preprocessing.mean)}")
    mean = torch.tensor(preprocessing.mean).view(1, -1, 1, 1)
    std = torch.tensor(preprocessing.std).view(1, -1, 1, 1)
    pixels = torch.from_numpy(np.ascontiguousarray(inputs.transpose(0, 3, 1, 2)).copy())
    return (pixels.to(torch.float32) / 255 - mean) / std


def labels_to_tensor(labels: npt.NDArray[np.int64]) -> Tensor:
    """int64 [N]; a copy, because a split's arrays are read-only.

    Raises:
        DataError: one is negative; losses would leave that sample out in silence.
    """
    if len(labels) and int(labels.min()) < 0:
        raise DataError(f"labels count classes from 0, found {int(labels.min())}")
    return torch.from_numpy(labels.copy())


def require_classes(labels: Tensor, classes: int) -> None:
    """Raises `DataError` where a label, none negative, is not an output of the network."""
    if len(labels) and int(labels.max()) >= classes:
        raise DataError(f"label {int(labels.max())} is none of the {classes} classes that the network knows")


def require_samples(split: Split, *, at_least: int = 1, what: str, judges: bool = False) -> None:
    """Every method begins with this: raises `DataError` if `split` is too small to be `what`.

    Args:
        judges: what reads it only judges by it; everybody else is refused a split that is for judging, `LeakError`.
    """
    if not judges:
        split.require_may_be_learned_from(what)
    if len(split) < at_least:
        raise DataError(f"{what} needs at least {at_least} sample(s), found {len(split)}")
