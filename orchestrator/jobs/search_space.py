"""The space of a job's search, and between its configurations and what the pipeline makes: plain data, pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from orchestrator.search.space import Axis, Configuration, Space
from orchestrator.spec import CandidateSpec, PruneSpec, QuantizeSpec, SpaceSpec

SCHEME, BITS, MACS = "scheme", "weight bits", "share of MACs"


@dataclass(frozen=True)
class Bits:
    """Of a weight: the same for all layers, or on average with each layer's by its sensitivity."""

    count: float
    is_mean: bool = False

    def __str__(self) -> str:
        return f"{self.count:g} on average" if self.is_mean else f"{self.count:g}"


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
            )
        )

    def _bits(self) -> tuple[Bits, ...]:
        uniform = [Bits(count) for count in self.spec.weight_bits]
        mixed = [Bits(count, is_mean=True) for count in self.spec.mean_bits]
        return tuple(sorted([*uniform, *mixed], key=lambda bits: (-bits.count, bits.is_mean)))

    def anchors(self) -> list[Configuration]:
        """Each share of channels with the gentlest of everything else: what latency tables are measured on."""
        macs = self.space.axes[2].choices
        return [(0, 0, index) for index in range(len(macs))]

    def values(self, configuration: Configuration) -> dict[str, Any]:
        return self.space.values(configuration)

    def quantize(self, configuration: Configuration) -> QuantizeSpec:
        values = self.values(configuration)
        bits: Bits = values[BITS]
        if bits.is_mean:
            return QuantizeSpec(scheme=values[SCHEME], mean_bits=bits.count)
        return QuantizeSpec(scheme=values[SCHEME], weight_bits=cast(Any, int(bits.count)))

    def prune(self, configuration: Configuration) -> PruneSpec | None:
        fraction = self.values(configuration)[MACS]
        return PruneSpec(macs_fraction=fraction, epochs=self.spec.epochs) if fraction < 1.0 else None

    def candidate(self, configuration: Configuration) -> CandidateSpec:
        """As a recipe could have named it: `pow2-w4-m0.5`, `int-mean3.5`."""
        values = self.values(configuration)
        bits: Bits = values[BITS]
        name = f"{_SHORT[values[SCHEME]]}-{'mean' if bits.is_mean else 'w'}{bits.count:g}"
        if values[MACS] < 1.0:
            name += f"-m{values[MACS]:g}"
        return CandidateSpec(name=name, prune=self.prune(configuration), quantize=self.quantize(configuration))
