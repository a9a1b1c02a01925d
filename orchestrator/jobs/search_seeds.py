"""Where a job's search begins: predictions from the anchors and from what quantizing does to the answers. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.jobs.search_space import BITS, BLOCKS, MACS, SCHEME, Bits, SearchSpace
from orchestrator.search.pareto import Costs
from orchestrator.search.seeds import Part
from orchestrator.search.space import Configuration

Divergences = Mapping[tuple[int, int], float | None]
"""By (scheme, bits), as indices: mean KL in nats from the float network's answers; None where it cannot be had."""
_IMPOSSIBLE = 10.0  # times the worst divergence: never on a predicted front
AFTER_TRAINING = 0.25
"""What training with the rounding is taken to leave of a divergence. Only where a search begins depends on it."""


def predicted_parts(space: SearchSpace, anchors: Mapping[Configuration, Costs], divergences: Divergences) -> list[Part]:
    """One part for each anchor and scheme, summed over bits.

    `anchors` are (accuracy lost, slowness, bytes, RAM), measured; `divergences` are those without training. A
    divergence counts as if a nat were all accuracy: predictions are only compared with one another. Bytes go with bits;
    slowness and RAM do not depend on them.
    """
    schemes, bits, *_ = (axis.choices for axis in space.space.axes)
    worst = max((entry for entry in divergences.values() if entry is not None), default=1.0)
    parts = []
    for anchor, (loss, slowness, size, ram) in anchors.items():
        for scheme in range(len(schemes)):
            known = [divergences.get((scheme, bit)) for bit in range(len(bits))]
            options = [
                (_expected(entry, each, worst), 0.0, size * each.count / bits[0].count, 0.0)
                for entry, each in zip(known, bits, strict=True)
            ]
            fixed = {SCHEME: scheme, MACS: anchor[-2], BLOCKS: anchor[-1]}
            parts.append(Part(fixed=fixed, base=(loss, slowness, 0.0, ram), options={BITS: options}))
    return parts


def _expected(divergence: float | None, bits: Bits, worst: float) -> float:
    if divergence is None:
        return _IMPOSSIBLE * (worst + 1.0)
    return divergence * AFTER_TRAINING if bits.is_trained else divergence
