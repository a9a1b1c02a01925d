"""The space of a job's search, and between its configurations and what the pipeline makes: plain data, pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.search.space import Axis, Configuration, Space
from orchestrator.spec import CandidateSpec, PruneSpec, QuantizeSpec, SpaceSpec

SCHEME, BITS, MACS = "scheme", "weight bits", "share of MACs"
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
                Axis(BITS, tuple(sorted(self.spec.weight_bits, reverse=True))),
                Axis(MACS, tuple(sorted(self.spec.macs_fractions, reverse=True))),
            )
        )

    def anchors(self) -> list[Configuration]:
        """Each share of channels with the gentlest of everything else: what latency tables are measured on."""
        macs = self.space.axes[2].choices
        return [(0, 0, index) for index in range(len(macs))]

    def values(self, configuration: Configuration) -> dict[str, Any]:
        return self.space.values(configuration)

    def quantize(self, configuration: Configuration) -> QuantizeSpec:
        values = self.values(configuration)
        return QuantizeSpec(scheme=values[SCHEME], weight_bits=values[BITS])

    def prune(self, configuration: Configuration) -> PruneSpec | None:
        fraction = self.values(configuration)[MACS]
        return PruneSpec(macs_fraction=fraction, epochs=self.spec.epochs) if fraction < 1.0 else None

    def candidate(self, configuration: Configuration) -> CandidateSpec:
        """As a recipe could have named it: `pow2-w4-m0.5`."""
        values = self.values(configuration)
        name = f"{_SHORT[values[SCHEME]]}-w{values[BITS]}"
        if values[MACS] < 1.0:
            name += f"-m{values[MACS]:g}"
        return CandidateSpec(name=name, prune=self.prune(configuration), quantize=self.quantize(configuration))
