"""Times a candidate model on this very device, for the control plane's choice among candidates."""

from __future__ import annotations

import math
import threading
import time

from edge_agent.errors import ModelRefusedError
from edge_agent.verify import VerifiedModel
from protos import model_pb2

WARMUP_LIMIT = 1_000
RUNS_LIMIT = 10_000
BUDGET_S = 60.0
"""A slow model ends early, with the runs it got."""


class Cancelled(Exception):  # noqa: N818 - not a failure of the benchmark
    """Something more urgent came up."""


def run_benchmark(
    model: VerifiedModel, *, warmup: int, runs: int, device_class: str, cancel: threading.Event
) -> model_pb2.Measurement:
    """Time single samples, taken in turn from the golden vectors, after `warmup` untimed ones.

    Latency is engine time. Peak memory is what the loaded model keeps: weights and arena.

    Raises:
        ModelRefusedError: the request asks for no run, or for more than an agent gives.
        Cancelled: `cancel` was set.
    """
    if not (1 <= runs <= RUNS_LIMIT and warmup <= WARMUP_LIMIT):
        raise ModelRefusedError(f"a benchmark has 1 to {RUNS_LIMIT} runs and at most {WARMUP_LIMIT} to warm up")
    inputs = _inputs(model)
    ends_at = time.monotonic() + BUDGET_S
    latencies_us: list[float] = []
    for run in range(-warmup, runs):
        if cancel.is_set():
            raise Cancelled
        if latencies_us and time.monotonic() > ends_at:
            break
        raw, x = inputs[run % len(inputs)]
        begun = time.perf_counter_ns()
        if raw:
            model.engine.infer_raw(x)
        else:
            model.engine.infer_float(x)
        if run >= 0:
            latencies_us.append((time.perf_counter_ns() - begun) / 1000)
    latencies_us.sort()
    return model_pb2.Measurement(
        device_class=device_class,
        engine_path=model.engine.path,
        latency_p50_us=_quantile(latencies_us, 0.50),
        latency_p95_us=_quantile(latencies_us, 0.95),
        runs=len(latencies_us),
        peak_ram_bytes=model.ram_bytes,
    )


def _inputs(model: VerifiedModel) -> list[tuple[bool, bytes]]:
    cases = model_pb2.GoldenVectors.FromString(model.golden).cases
    return [(True, case.raw) if case.WhichOneof("input") == "raw" else (False, case.float32) for case in cases]


def _quantile(ordered: list[float], q: float) -> float:
    """The smallest value that at least a share q of all does not exceed."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]
