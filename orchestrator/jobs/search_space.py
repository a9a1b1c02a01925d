"""The space of a job's search, and between its configurations and what the pipeline makes: plain data, pure."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, cast

from orchestrator.search.space import Axis, Configuration, Space
from orchestrator.spec import CandidateSpec, PruneSpec, QuantizeSpec, SpaceSpec

SCHEME, BITS, MACS, BLOCKS = "scheme", "weight bits", "share of MACs", "block sparsity"


@dataclass(frozen=True)
class Bits:
    """Of a weight: the same for all layers, or on average with each layer's by its sensitivity; `is_trained` with
    quantization-aware training."""

    count: float
    is_mean: bool = False
    is_trained: bool = False

    def __str__(self) -> str:
        return f"{self.count:g}{' on average' if self.is_mean else ''}{' after training' if self.is_trained else ''}"


_SHORT = {"integer": "int", "power-of-two": "pow2"}


@dataclass(frozen=True)
class SearchSpace:
    """A `SpaceSpec` as axes, each from its gentlest choice on."""

    spec: SpaceSpec

    @property
    def space(self) -> Space:
        return Space(
            (
                Axis(SCHEME, tuple(sorted(self.spec.schemes))),
                Axis(BITS, self._bits()),
                Axis(MACS, tuple(sorted(self.spec.macs_fractions, reverse=True))),
                Axis(BLOCKS, tuple(sorted(self.spec.block_sparsities))),
            )
        )

    def _bits(self) -> tuple[Bits, ...]:
        uniform = [Bits(count) for count in self.spec.weight_bits]
        mixed = [Bits(count, is_mean=True) for count in self.spec.mean_bits]
        trained = [Bits(count, is_trained=True) for count in self.spec.trained_bits]
        every = [*uniform, *mixed, *trained]
        return tuple(sorted(every, key=lambda bits: (-bits.count, bits.is_mean, bits.is_trained)))

    def anchors(self) -> list[Configuration]:
        """Each share of channels and of blocks with the gentlest of everything else: what latency tables are measured
        on."""
        *_, macs, blocks = self.space.axes
        return [(0, 0, *pruned) for pruned in itertools.product(range(len(macs.choices)), range(len(blocks.choices)))]

    def values(self, configuration: Configuration) -> dict[str, Any]:
        return self.space.values(configuration)

    def quantize(self, configuration: Configuration) -> QuantizeSpec:
        values = self.values(configuration)
        bits: Bits = values[BITS]
        if bits.is_mean:
            return QuantizeSpec(scheme=values[SCHEME], mean_bits=bits.count)
        return QuantizeSpec(
            scheme=values[SCHEME],
            weight_bits=cast(Any, int(bits.count)),
            training=self.spec.training if bits.is_trained else None,
        )

    def prune(self, configuration: Configuration) -> PruneSpec | None:
        values = self.values(configuration)
        macs, blocks = values[MACS], values[BLOCKS]
        if macs == 1.0 and blocks == 0.0:
            return None
        return PruneSpec(
            macs_fraction=macs if macs < 1.0 else None,
            block_sparsity=blocks if blocks > 0.0 else None,
            epochs=self.spec.epochs,
        )

    def candidate(self, configuration: Configuration) -> CandidateSpec:
        """As a recipe could have named it: `pow2-w4-m0.5`, `int-mean3.5`, `int-w2t-b0.6`."""
        values = self.values(configuration)
        bits: Bits = values[BITS]
        name = f"{_SHORT[values[SCHEME]]}-{'mean' if bits.is_mean else 'w'}{bits.count:g}{'t' * bits.is_trained}"
        if values[MACS] < 1.0:
            name += f"-m{values[MACS]:g}"
        if values[BLOCKS] > 0.0:
            name += f"-b{values[BLOCKS]:g}"
        return CandidateSpec(name=name, prune=self.prune(configuration), quantize=self.quantize(configuration))
