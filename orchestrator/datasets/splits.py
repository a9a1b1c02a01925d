"""Labelled images, and the four splits a job may see.

Who may read what is the point of the types. Training reads `train`, quantization `calibrate`; the search judges by
`choose`; `certify` is read once for each published model (see `sealed`). Disjointness is by content and checked on
construction. A split carries its role wherever it goes, so a method that is handed what it must not learn from refuses
it. Shapes: N samples, H height, W width, C channels.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.datasets.errors import DatasetFormatError, LeakError, SplitRoleError
from orchestrator.datasets.feature_grid import FeatureGrid, Float32


class Role(StrEnum):
    """What a split is for."""

    NONE = "none"  # nobody said; whoever made it answers for it
    TRAIN = "train"
    CALIBRATE = "calibrate"
    CHOOSE = "choose"
    CERTIFY = "certify"

    @property
    def only_judges(self) -> bool:
        """Whether nothing may be learned from it, calibrated on it or tuned by it."""
        return self in (Role.CHOOSE, Role.CERTIFY)


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels: `inputs` uint8 [N, H, W, C], `labels` int64 [N]. Both become read-only.

    `role` is not part of what a split is: it does not change its digest.
    """

    inputs: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    role: Role = Role.NONE

    def __post_init__(self) -> None:
        if self.inputs.dtype != np.uint8 or self.inputs.ndim != 4:
            raise DatasetFormatError(
                f"inputs must be uint8 [N, H, W, C], found {self.inputs.dtype} of shape {self.inputs.shape}"
            )
        if self.labels.dtype != np.int64 or self.labels.shape != self.inputs.shape[:1]:
            raise DatasetFormatError(
                f"labels must be int64 [{len(self.inputs)}], found {self.labels.dtype} of shape {self.labels.shape}"
            )
        object.__setattr__(self, "inputs", _frozen(self.inputs))
        object.__setattr__(self, "labels", _frozen(self.labels))

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        height, width, channels = self.inputs.shape[1:]
        return height, width, channels

    def take(self, indices: npt.ArrayLike | slice) -> Split:
        """The samples at `indices` (anything numpy indexes with), in that order; they keep their role."""
        chosen = indices if isinstance(indices, slice) else np.asarray(indices)
        return Split(self.inputs[chosen], self.labels[chosen], self.role)

    def require_may_be_learned_from(self, what: str) -> None:
        """Raise `SplitRoleError` if this split only judges."""
        if self.role.only_judges and len(self):
            raise SplitRoleError(f"{what} must not see the {self.role} split: what is judged by it was not to know it")

    def digest(self) -> str:
        """SHA-256 (hex) over shape, inputs and labels: the identity of this split in caches and certificates."""
        state = hashlib.sha256(f"split-1 uint8 {self.inputs.shape} int64".encode())
        state.update(self.inputs.tobytes())
        state.update(self.labels.astype("<i8").tobytes())
        return state.hexdigest()

    @cached_property
    def input_digests(self) -> frozenset[bytes]:
        """One digest for each distinct input, labels left out: what disjointness is judged by."""
        return frozenset(hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in self.inputs)


@dataclass(frozen=True, eq=False, kw_only=True)
class Features:
    """What the channels of a table's rows are: their names, and the steps that their numbers are put on."""

    names: tuple[str, ...]
    grid: FeatureGrid

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names) or not all(name.strip() for name in self.names):
            raise DatasetFormatError("features need names that are all different")

    def codes(self, rows: Float32) -> npt.NDArray[np.uint8]:
        """[N, features] as the inputs of a split: the steps, counted from 0."""
        steps = self.grid.quantize(rows).astype(np.int16) + 128
        return steps.astype(np.uint8)[:, np.newaxis, np.newaxis]

    def digest(self) -> str:
        state = hashlib.sha256(repr(self.names).encode())
        state.update(self.grid.offset.astype("<f4").tobytes())
        state.update(self.grid.multiplier.astype("<f4").tobytes())
        return state.hexdigest()


@dataclass(frozen=True, eq=False, kw_only=True)
class Splits:
    """The data of one job.

    Attributes:
        train, calibrate, choose, certify: pairwise disjoint by input; `LeakError` otherwise.
        labels: class names; a label is an index into them.
        mean, std: per channel, of pixels in 0..1; a network sees (pixel / 255 - mean) / std.
        features: of a table, see `tables`; None for images.
    """

    train: Split
    calibrate: Split
    choose: Split
    certify: Split
    labels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    features: Features | None = None

    def __post_init__(self) -> None:
        for name, split in self.named().items():
            if split.role.only_judges and split.role != name and len(split):
                raise SplitRoleError(f"the {split.role} split cannot become {name!r}")
            if split.role != name:
                object.__setattr__(self, name, replace(split, role=Role(name)))
        named = self.named()
        shapes = {split.sample_shape for split in named.values()}
        if len(shapes) != 1:
            raise DatasetFormatError(f"splits must hold images of one shape, found {sorted(shapes)}")
        channels = self.train.sample_shape[2]
        if len(self.mean) != channels or len(self.std) != channels:
            raise DatasetFormatError(
                f"mean and std need one entry for each of {channels} channel(s), "
                f"found {len(self.mean)} and {len(self.std)}"
            )
        if self.features is not None and self.train.sample_shape != (1, 1, len(self.features.names)):
            raise DatasetFormatError(f"{len(self.features.names)} features do not fit rows {self.train.sample_shape}")
        if not all(np.isfinite(self.mean)) or not all(np.isfinite(s) and s > 0 for s in self.std):
            raise DatasetFormatError(
                f"mean must be finite and std finite and positive, found {self.mean} and {self.std}"
            )
        for name, split in named.items():
            if len(split) and not (split.labels.min() >= 0 and split.labels.max() < len(self.labels)):
                raise DatasetFormatError(
                    f"split {name!r} has labels in {split.labels.min()}..{split.labels.max()}, "
                    f"but there are {len(self.labels)} classes"
                )
        require_disjoint(**named)

    def named(self) -> dict[str, Split]:
        return {"train": self.train, "calibrate": self.calibrate, "choose": self.choose, "certify": self.certify}

    def digest(self) -> str:
        """SHA-256 (hex) over all splits, labels and preprocessing."""
        parts = [f"{name}={split.digest()}" for name, split in self.named().items()]
        text = f"{parts} {self.labels} {self.mean} {self.std}"
        if self.features is not None:
            text += f" {self.features.digest()}"
        return hashlib.sha256(text.encode()).hexdigest()

    def without_certify(self) -> Splits:
        """What a search may hold: `certify` is empty."""
        return replace(self, certify=self.certify.take(slice(0, 0)))


def concatenate(*splits: Split) -> Split:
    """All samples, one split after the other; their role where they share it.

    Raises:
        SplitRoleError: one of several roles only judges.
    """
    roles = {split.role for split in splits if len(split)}
    if len(roles) > 1 and any(role.only_judges for role in roles):
        raise SplitRoleError(f"splits of different roles cannot be mixed: {', '.join(sorted(roles))}")
    inputs = np.concatenate([split.inputs for split in splits])
    labels = np.concatenate([split.labels for split in splits])
    return Split(inputs, labels, roles.pop() if len(roles) == 1 else Role.NONE)


def require_disjoint(**splits: Split) -> None:
    """Raise `LeakError` for the first two of `splits` that share an input.

    For sets that are made later too: samples that devices returned must not be among those that a model is judged on.
    """
    for (first, a), (second, b) in combinations(splits.items(), 2):
        shared = len(a.input_digests & b.input_digests)
        if shared:
            raise LeakError(first, second, shared)


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
