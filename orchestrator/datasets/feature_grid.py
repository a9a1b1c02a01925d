"""Tabular features on int8: an offset and a multiplier for each, as the input of docs/format.md applies them.

Networks and rules are made of these integers and run on them, so a step means on a device exactly what it meant here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.runtime import limits
from edge_agent.runtime.graph import Graph
from edge_agent.runtime.tensors import decode_tensors, fetch_payloads
from orchestrator.datasets.errors import DatasetFormatError

Float32 = npt.NDArray[np.float32]
Int8 = npt.NDArray[np.int8]

_TAIL = 0.01  # share of the values on each side that may saturate, before the margin
_MARGIN = 0.05  # of the range between, on each side


@dataclass(frozen=True, eq=False)
class FeatureGrid:
    """q = round(float32(float32(x - offset) * multiplier)), ties to even, within int8; both float32 [F]."""

    offset: Float32
    multiplier: Float32

    @classmethod
    def of(cls, x_NF: Float32) -> FeatureGrid:
        """Spreads what lies between the outermost hundredths over 256 steps; a constant feature gets steps of 1.

        Raises:
            DatasetFormatError: there are no rows, or a value is not finite.
        """
        if x_NF.ndim != 2 or not x_NF.size:
            raise DatasetFormatError(f"tabular data is [samples, features] and not empty, found the shape {x_NF.shape}")
        broken = first_not_finite(x_NF)
        if broken is not None:
            raise DatasetFormatError(f"feature {broken} is not finite for some sample")
        low, high = np.quantile(x_NF.astype(np.float64), [_TAIL, 1 - _TAIL], axis=0)
        flat = high <= low  # nearly constant: let the extremes say
        low, high = np.where(flat, x_NF.min(axis=0), low), np.where(flat, x_NF.max(axis=0), high)
        reach = (high - low) * (1 + 2 * _MARGIN)
        multiplier = np.where(reach > 0, 255 / np.where(reach > 0, reach, 1), 1.0)
        multiplier = np.clip(multiplier, limits.INPUT_MULTIPLIER_MIN, limits.INPUT_MULTIPLIER_MAX)
        return cls(((low + high) / 2).astype(np.float32), multiplier.astype(np.float32))

    def quantize(self, x_NF: Float32) -> Int8:
        with np.errstate(over="ignore", under="ignore"):
            steps = (x_NF.astype(np.float32) - self.offset) * self.multiplier
        return np.asarray(np.rint(np.clip(steps, -128, 127)).astype(np.int8))

    def dequantize(self, q_NF: npt.NDArray[np.integer[Any]]) -> Float32:
        return (q_NF / self.multiplier.astype(np.float64) + self.offset).astype(np.float32)

    def boundary(self, feature: int, threshold: int) -> float:
        """The value above which x goes right of the int8 threshold."""
        return float(self.offset[feature] + (threshold + 0.5) / self.multiplier[feature])


def first_not_finite(x_NF: Float32) -> int | None:
    """The first feature that is not finite in some row."""
    finite_F = np.isfinite(x_NF).all(axis=0)
    return None if finite_F.all() else int(finite_F.argmin())


def input_grid(graph: Graph, blobs: Callable[[bytes], bytes]) -> FeatureGrid:
    """How a model puts floats on the steps of its input, counted from the zero point; of an image, alike for all."""
    if graph.input.channel_affine is None:
        return FeatureGrid(np.zeros(1, np.float32), np.array([graph.input.multiplier], np.float32))
    offset, multiplier = decode_tensors(graph, fetch_payloads(graph, blobs))[graph.input.channel_affine]
    return FeatureGrid(offset, multiplier)
