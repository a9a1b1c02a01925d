"""A latency table: what each fused group of layers takes on one device class, and sums of that for whole models.

In the stored model a layer, its bias, batch norm and activation are one operator already, and an engine runs operators
one after the other. So an entry is an operator with everything its time can depend on (`signature`), measured inside a
running model, where caches are as they will be; and a model takes the sum of its operators and what every call costs.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from edge_agent.runtime.graph import Graph, Operator, Requantize, Tensor

PREPARATION = "input"
_TENSORS = ("weight", "table", "nodes", "scores")  # fields of an operator that are tensors with a size of their own
_TIMELESS = (
    *("bias", "gain", "value", "epsilon", "threshold"),
    *("qmin", "qmax", "reciprocal", "multiplier_a", "multiplier_b"),
)
_DENSITY_STEP = 0.05  # of blocks that are there: masks are never quite alike


@dataclass(frozen=True)
class OperatorTimes:
    """One model on one device: `laps_us` of the input's preparation and then of each operator, medians; `whole_us` of a
    call, the median too."""

    signatures: tuple[str, ...]
    laps_us: tuple[float, ...]
    whole_us: float


class MissingEntryError(KeyError):
    """The table has nothing that is like this operator."""


@dataclass(frozen=True)
class LatencyTable:
    """`entries_us` by signature; `overhead_us` is what a call takes beside its operators."""

    entries_us: Mapping[str, float]
    overhead_us: float

    @classmethod
    def of(cls, measured: Iterable[OperatorTimes]) -> LatencyTable:
        """From models that ran; an operator that several of them have gets the median.

        Raises:
            ValueError: nothing was measured, or times and operators do not match.
        """
        laps: dict[str, list[float]] = {}
        overheads = []
        for times in measured:
            if len(times.signatures) != len(times.laps_us):
                raise ValueError(f"{len(times.laps_us)} times for {len(times.signatures)} operators")
            for key, lap_us in zip(times.signatures, times.laps_us, strict=True):
                laps.setdefault(key, []).append(lap_us)
            overheads.append(times.whole_us - sum(times.laps_us))
        if not overheads:
            raise ValueError("a latency table is made of at least one measured model")
        return cls({key: statistics.median(found) for key, found in laps.items()}, statistics.median(overheads))

    def predict_us(self, signatures: Sequence[str]) -> float:
        """The median time of a model with these operators.

        Raises:
            MissingEntryError: an operator was never measured, with no number of bits and no share of blocks.
        """
        return self.overhead_us + sum(self.entry_us(key) for key in signatures)

    def entry_us(self, key: str) -> float:
        """Of one operator; where it was never measured with these bits, as with others; and where not with this share
        of blocks, as with the nearest."""
        if key in self.entries_us:
            return self.entries_us[key]
        plain, density = _plain(key), _density(key)
        alike = [(abs(_density(k) - density), entry) for k, entry in self.entries_us.items() if _plain(k) == plain]
        if not alike:
            raise MissingEntryError(key)
        nearest, _ = min(alike)
        return statistics.median(entry for distance, entry in alike if distance == nearest)


def signatures(graph: Graph) -> tuple[str, ...]:
    """What stands in the table for the input's preparation and for each operator of `graph`, in stored order."""
    source = graph.input_activation
    return (f"{PREPARATION} {_shape(source.shape)}", *(signature(graph, operator) for operator in graph.operators))


def signature(graph: Graph, operator: Operator) -> str:
    """Everything that an operator's time can depend on but its values: kind, shapes, window, groups, bits, form.

    Such as `Conv2D 16x16x8 -> 16x16x16 weight 16x3x3x8@4 kernel_h 3 ... shift`.
    """
    sources = ", ".join(_shape(graph.activations[index].shape) for index in operator.inputs)
    parts = [type(operator.kind).__name__, sources, "->", _shape(graph.activations[operator.output].shape)]
    return " ".join([*parts, *_attributes(graph.tensors, operator.kind)])


def _attributes(tensors: Sequence[Tensor], value: Any) -> list[str]:
    words: list[str] = []
    for field in fields(value):
        held = getattr(value, field.name)
        if isinstance(held, Requantize):
            words.append("shift" if held.is_shift else "multiply")
        elif field.name in _TENSORS:
            words.append(f"{field.name} {_layout(tensors[held])}@{tensors[held].bits or 8}")
        elif is_dataclass(held) and not isinstance(held, type):
            words += _attributes(tensors, held)
        elif isinstance(held, int) and field.name not in _TIMELESS:
            words.append(f"{field.name} {held}")
        elif isinstance(held, tuple) and all(isinstance(entry, int) for entry in held):
            words.append(f"{field.name} {_shape(held)}")
    return words


def _layout(tensor: Tensor) -> str:
    if not tensor.is_block_sparse:
        return _shape(tensor.shape)
    density = tensor.blocks / (tensor.rows_of_blocks * tensor.blocks_per_row)
    return f"{_shape(tensor.shape)}/{tensor.block_rows}~{round(density / _DENSITY_STEP) * _DENSITY_STEP:.2f}"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _plain(key: str) -> str:
    """Without what the time of an operator depends on little: bits, and how many of its blocks are there."""
    words = (word.partition("@")[0].partition("/")[0] for word in key.split(" "))
    return " ".join(word for word in words if word not in ("shift", "multiply"))


def _density(key: str) -> float:
    """The share of its weight's blocks that is there."""
    sparse = re.search(r"/\d+~([\d.]+)@", key)
    return float(sparse[1]) if sparse else 1.0
