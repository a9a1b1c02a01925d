"""Latency of candidates on the device classes they are meant for: measured there, never estimated.

Orders are idempotent by job, model and class, so a driver that starts again finds what devices have measured already.
Where no device of a class is there, the job's own CPU stands in and the figure says so. It does not stand in for those
that were asked and could not: that a model runs here says nothing about them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator import convert
from orchestrator.records import Measurement, Refusal
from orchestrator.spec import BenchmarkSpec
from protos import model_pb2, operator_pb2

EVERY_CLASS = "*"
_POLL_S = 0.25
_ERROR_CHARS = 300  # of what devices say: it becomes part of a verdict, of which there are many in a message
_ANSWER_TIMEOUT_S = 600.0  # the control plane closes what nobody answers; this is for when it cannot


class BenchmarkService(Protocol):
    """The part of the control plane that is needed here."""

    def device_classes(self) -> list[str]: ...
    def request_benchmark(self, order: operator_pb2.BenchmarkOrder) -> operator_pb2.Benchmark: ...
    def get_benchmark(self, benchmark_id: str) -> operator_pb2.Benchmark: ...


@dataclass(frozen=True, kw_only=True)
class MeasurableModel:
    """One distinct model: the digest and size of its file."""

    digest: str
    size_bytes: int


@dataclass(frozen=True)
class Measured:
    """What came back about one model."""

    measurements: list[Measurement] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


TimeHere = Callable[[str], Mapping[str, Any]]  # digest to engine_path, latencies, runs, RAM, times of operators
Tell = Callable[[float, str], None]


def measure_models(
    service: BenchmarkService,
    models: Sequence[MeasurableModel],
    target_classes: Sequence[str],
    spec: BenchmarkSpec,
    *,
    job_id: str,
    time_here: TimeHere,
    tell: Tell,
    answer_timeout_s: float = _ANSWER_TIMEOUT_S,
) -> dict[str, Measured]:
    """By model digest, each model on each target's class ("*": every class with a device)."""
    classes = _concrete(target_classes, service)
    open_orders = {
        (model.digest, device_class): service.request_benchmark(_order(job_id, model, device_class, spec))
        for model in models
        for device_class in classes
    }
    measured = {model.digest: Measured() for model in models}
    stand_ins: dict[str, Mapping[str, Any]] = {}
    deadline = time.monotonic() + answer_timeout_s
    total = len(open_orders)
    while open_orders:
        for key, benchmark in list(open_orders.items()):
            digest, device_class = key
            is_settled = benchmark.no_device or benchmark.done or time.monotonic() > deadline
            if not is_settled:
                open_orders[key] = service.get_benchmark(benchmark.id)
                continue
            del open_orders[key]
            if benchmark.measurements:
                measured[digest].measurements.extend(map(convert.measurement_from, benchmark.measurements))
            elif benchmark.done and not benchmark.no_device:
                measured[digest].refusals.append(
                    Refusal(device_class=device_class, error=benchmark.error[:_ERROR_CHARS])
                )
            else:
                if digest not in stand_ins:
                    stand_ins[digest] = time_here(digest)
                measured[digest].measurements.append(_stand_in(device_class, stand_ins[digest]))
            settled = total - len(open_orders)
            tell(settled / total, f"{settled} of {total} measurements")
        if open_orders:
            time.sleep(_POLL_S)
    return measured


def _stand_in(device_class: str, figures: Mapping[str, Any]) -> Measurement:
    laps_us = tuple(figures.get("operator_p50_us", ()))
    return Measurement(device_class=device_class, on_control_plane=True, **{**figures, "operator_p50_us": laps_us})


def _concrete(target_classes: Sequence[str], service: BenchmarkService) -> list[str]:
    named = [name for name in dict.fromkeys(target_classes) if name != EVERY_CLASS]
    if EVERY_CLASS not in target_classes:
        return named
    present = [name for name in service.device_classes() if name not in named]
    return named + present if named or present else [EVERY_CLASS]


def _order(job_id: str, model: MeasurableModel, device_class: str, spec: BenchmarkSpec) -> operator_pb2.BenchmarkOrder:
    return operator_pb2.BenchmarkOrder(
        job_id=job_id,
        device_class=device_class,
        model=model_pb2.BlobRef(sha256=bytes.fromhex(model.digest), size_bytes=model.size_bytes),
        warmup=spec.warmup,
        runs=spec.runs,
        devices=spec.devices,
    )
