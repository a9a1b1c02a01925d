"""Times candidate models on this very device, for the control plane's choice among candidates.

One at a time, and only while no action is under way: an action cancels the benchmark, which the control plane then asks
for again at the next sync.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable

from edge_agent.errors import EspalierError, ModelRefusedError, RefusedError
from edge_agent.library import InThread, ModelLibrary
from edge_agent.life import ModelRef
from edge_agent.messages import read_model_ref
from edge_agent.runtime.profiling import PROFILED_RUNS, median_laps_us
from edge_agent.verify import VerifiedModel
from protos import fleet_pb2 as pb
from protos import model_pb2

logger = logging.getLogger(__name__)

WARMUP_LIMIT = 1_000
RUNS_LIMIT = 10_000
BUDGET_S = 60.0
"""A slow model ends early, with the runs it got."""


class Cancelled(Exception):  # noqa: N818 - not a failure of the benchmark
    """Something more urgent came up."""


class BenchmarkDesk:
    """`is_idle` says whether no action is under way; `report` takes each result, and `is_reported` tells of those."""

    def __init__(
        self,
        library: ModelLibrary,
        in_thread: InThread,
        *,
        device_class: str,
        is_idle: Callable[[], bool],
        report: Callable[[pb.BenchmarkReport], None],
        is_reported: Callable[[str], bool],
    ) -> None:
        self._library = library
        self._in_thread = in_thread
        self._device_class = device_class
        self._is_idle = is_idle
        self._report = report
        self._is_reported = is_reported
        self._waiting: dict[str, tuple[ModelRef, pb.BenchmarkRequest]] = {}
        self._task: asyncio.Task[None] | None = None
        self._cancel = threading.Event()

    @property
    def models(self) -> list[ModelRef]:
        """Those that are wanted here for a benchmark only."""
        return [model for model, _ in self._waiting.values()]

    def offer(self, requests: Iterable[pb.BenchmarkRequest]) -> None:
        """Take what the control plane asks for now; it repeats what it still wants."""
        self._waiting = {}
        for request in requests:
            if self._is_reported(request.id):
                continue
            try:
                self._waiting[request.id] = (read_model_ref(request.model), request)
            except RefusedError as error:
                self._report(pb.BenchmarkReport(id=request.id, error=str(error)))
        if self._waiting and self._is_idle() and (self._task is None or self._task.done()):
            self._cancel.clear()
            self._task = asyncio.create_task(self._run(), name="benchmarks")

    def cancel(self) -> None:
        """Make way for an action."""
        self._cancel.set()

    async def stop(self) -> None:
        self._cancel.set()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while self._waiting and self._is_idle():
            benchmark_id, (model, request) = next(iter(self._waiting.items()))
            report = pb.BenchmarkReport(id=benchmark_id)
            try:
                report.measurement.CopyFrom(await self._measure(model, request))
            except Cancelled:
                return
            except (EspalierError, OSError, MemoryError) as error:
                report.error = str(error) or type(error).__name__
            except Exception as error:
                logger.exception("benchmark %s failed", benchmark_id)
                report.error = f"unexpected {type(error).__name__}"
            self._waiting.pop(benchmark_id, None)
            self._report(report)

    async def _measure(self, ref: ModelRef, request: pb.BenchmarkRequest) -> model_pb2.Measurement:
        await self._library.fetch(ref)
        model, golden = await self._library.verify(ref), await self._library.golden(ref)
        logger.info("benchmark %s of model %s: %d runs", request.id, ref.digest[:12], request.runs)
        return await self._in_thread(
            lambda: run_benchmark(
                model,
                golden,
                warmup=request.warmup,
                runs=request.runs,
                device_class=self._device_class,
                cancel=self._cancel,
            )
        )


def run_benchmark(
    model: VerifiedModel, golden: bytes, *, warmup: int, runs: int, device_class: str, cancel: threading.Event
) -> model_pb2.Measurement:
    """Time single samples, taken in turn from the golden vectors, after `warmup` untimed ones.

    Latency is engine time; what each operator took comes from further runs. Peak memory is what the loaded model keeps:
    weights and arena.

    Raises:
        ModelRefusedError: the request asks for no run, or for more than an agent gives.
        Cancelled: `cancel` was set.
    """
    if not (1 <= runs <= RUNS_LIMIT and warmup <= WARMUP_LIMIT):
        raise ModelRefusedError(f"a benchmark has 1 to {RUNS_LIMIT} runs and at most {WARMUP_LIMIT} to warm up")
    inputs = _inputs(golden)
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
        operator_p50_us=median_laps_us(model.engine, inputs, min(len(latencies_us), PROFILED_RUNS)),
    )


def _inputs(golden: bytes) -> list[tuple[bool, bytes]]:
    cases = model_pb2.GoldenVectors.FromString(golden).cases
    return [(True, case.raw) if case.WhichOneof("input") == "raw" else (False, case.float32) for case in cases]


def _quantile(ordered: list[float], q: float) -> float:
    """The smallest value that at least a share q of all does not exceed."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]
