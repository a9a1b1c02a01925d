"""What happens to a camera: stated, seeded corruptions of uint8 images.

Each is a function of [N, H, W, C] uint8 images in 0..255 and returns the same. A `Corruption` names one with its
strength, so that a certificate or the demo can say exactly what was done. numpy only.

The families and the idea of stated severities follow Hendrycks & Dietterich 2019 (arXiv:1903.12261); the strengths are
ours, in grey levels and pixels, because theirs are set for 224-pixel photographs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]


def gaussian_noise(images: Images, strength: float, rng: np.random.Generator) -> Images:
    """Add sensor noise with a standard deviation of `strength` grey levels."""
    return _to_uint8(images + rng.normal(0.0, strength, images.shape))


def box_blur(images: Images, strength: float, rng: np.random.Generator) -> Images:
    """Average over a square of 2 * strength + 1 pixels (whole pixels), edges repeated: a lens out of focus."""
    del rng
    radius = round(strength)
    width = 2 * radius + 1
    blurred = images.astype(np.float64)
    for axis in (1, 2):
        padding = [(0, 0)] * 4
        padding[axis] = (radius, radius)
        sums = np.cumsum(np.pad(blurred, padding, mode="edge"), axis=axis)
        sums = np.concatenate([np.zeros_like(sums.take([0], axis=axis)), sums], axis=axis)
        length = images.shape[axis]
        upper = sums.take(range(width, width + length), axis=axis)
        blurred = (upper - sums.take(range(length), axis=axis)) / width
    return _to_uint8(blurred)


def contrast(images: Images, strength: float, rng: np.random.Generator) -> Images:
    """Shrink each image's spread around its own mean to a share of 1 - strength: fog or a dirty lens."""
    del rng
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    return _to_uint8(mean + (1.0 - strength) * (images - mean))


def brightness(images: Images, strength: float, rng: np.random.Generator) -> Images:
    """Add `strength` grey levels (negative darkens): a wrong exposure."""
    del rng
    return _to_uint8(images + np.float64(strength))


CORRUPTIONS: dict[str, Callable[[Images, float, np.random.Generator], Images]] = {
    "gaussian_noise": gaussian_noise,
    "box_blur": box_blur,
    "contrast": contrast,
    "brightness": brightness,
}


@dataclass(frozen=True)
class Corruption:
    """Steps applied in order, each a name of `CORRUPTIONS` with its strength; the seed fixes the noise."""

    steps: tuple[tuple[str, float], ...]
    seed: int = 0

    def __post_init__(self) -> None:
        for name, strength in self.steps:
            if name not in CORRUPTIONS:
                raise ValueError(f"unknown corruption {name!r}; known: {', '.join(CORRUPTIONS)}")
            if not np.isfinite(strength):
                raise ValueError(f"the strength of {name!r} must be finite, found {strength}")

    def __str__(self) -> str:
        return " + ".join(f"{name}({strength:g})" for name, strength in self.steps) or "none"

    def apply(self, images: Images) -> Images:
        """Corrupt [N, H, W, C] uint8 images; the same images and seed give the same result."""
        rng = np.random.default_rng(self.seed)
        for name, strength in self.steps:
            images = CORRUPTIONS[name](images, strength, rng)
        return images


def _to_uint8(values: npt.NDArray[np.float64]) -> Images:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
