"""What each operator of a loaded model takes on this machine: the figures that latency tables are made of."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.runtime.interface import BytesLike, Engine

PROFILED_RUNS = 50
"""Enough for a median; a profiled run costs as much as any other."""


def median_laps_us(engine: Engine, samples: Sequence[tuple[bool, BytesLike]], runs: int) -> list[float]:
    """Medians over `runs` of what preparing the input and then each operator in stored order took.

    Args:
        samples: taken in turn, each with whether it is raw.
    """
    laps_ns = [engine.profile(x, raw=raw) for raw, x in (samples[run % len(samples)] for run in range(runs))]
    # Not `statistics`: it would bring half a megabyte of decimals into every agent.
    return [sorted(column)[len(column) // 2] / 1000 for column in zip(*laps_ns, strict=True)]
