"""Times a loaded model on this machine, whole and operator by operator: what latency tables are made of."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from edge_agent.runtime.interface import Engine
from orchestrator.search.latency import OperatorTimes, signatures


def time_operators(engine: Engine, inputs: Sequence[bytes], *, runs: int, warmup: int = 10) -> OperatorTimes:
    """Medians over `runs` single raw samples, taken in turn; whole calls and profiled ones alternate, so that whatever
    slows the machine down meanwhile slows both."""
    laps_ns: list[list[int]] = []
    whole_ns: list[int] = []
    for run in range(-warmup, runs):
        sample = inputs[run % len(inputs)]
        begun = time.perf_counter_ns()
        engine.infer_raw(sample)
        took_ns = time.perf_counter_ns() - begun
        profiled = engine.profile(sample, raw=True)
        if run >= 0:
            whole_ns.append(took_ns)
            laps_ns.append(profiled)
    return OperatorTimes(
        signatures=signatures(engine.graph),
        laps_us=tuple(statistics.median(column) / 1000 for column in zip(*laps_ns, strict=True)),
        whole_us=statistics.median(whole_ns) / 1000,
    )
