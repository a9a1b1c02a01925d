"""Measurements come from devices of the class; what stands in for them says so."""

from __future__ import annotations

from typing import Any

from orchestrator.jobs.measure import MeasurableModel, Measured, measure_models
from orchestrator.spec import BenchmarkSpec
from protos import model_pb2, operator_pb2

MODEL = MeasurableModel(digest="ab" * 32, size_bytes=10)
HERE = {"engine_path": "portable", "latency_p50_us": 5.0, "latency_p95_us": 7.0, "runs": 9, "peak_ram_bytes": 64}


class Devices:
    """Devices that measure on the n-th look, by class, or fail with the error that `errors` has for their class."""

    def __init__(
        self, answers_after: dict[str, int], classes: tuple[str, ...] = (), errors: dict[str, str] | None = None
    ) -> None:
        self.answers_after, self.classes, self.errors = answers_after, list(classes), errors or {}
        self.orders: list[operator_pb2.BenchmarkOrder] = []
        self.looks: dict[str, int] = {}

    def device_classes(self) -> list[str]:
        return self.classes

    def request_benchmark(self, order: operator_pb2.BenchmarkOrder) -> operator_pb2.Benchmark:
        self.orders.append(order)
        return self.get_benchmark(order.device_class)

    def get_benchmark(self, benchmark_id: str) -> operator_pb2.Benchmark:
        looks = self.looks[benchmark_id] = self.looks.get(benchmark_id, -1) + 1
        benchmark = operator_pb2.Benchmark(id=benchmark_id, device_class=benchmark_id)
        if benchmark_id not in self.answers_after:
            benchmark.no_device = True
        elif looks >= self.answers_after[benchmark_id]:
            benchmark.done = True
            benchmark.error = self.errors.get(benchmark_id, "")
            if not benchmark.error:
                benchmark.measurements.append(
                    model_pb2.Measurement(device_class=benchmark_id, engine_path="avx2", latency_p95_us=1.5, runs=20)
                )
        return benchmark


def measure(devices: Devices, *classes: str, **options: Any) -> list[tuple[str, str, bool]]:
    found = measure_all(devices, *classes, **options).measurements
    return [(m.device_class, m.engine_path, m.on_control_plane) for m in found]


def measure_all(devices: Devices, *classes: str, **options: Any) -> Measured:
    told: list[float] = []
    found = measure_models(
        devices,
        [MODEL],
        classes,
        BenchmarkSpec(),
        job_id="job",
        time_here=lambda digest: HERE,
        tell=lambda fraction, words: told.append(fraction),
        **options,
    )
    assert told[-1] == 1.0
    return found[MODEL.digest]


def test_each_class_is_measured_by_its_devices() -> None:
    devices = Devices({"gateway": 0, "sensor": 2})
    assert sorted(measure(devices, "gateway", "sensor")) == [("gateway", "avx2", False), ("sensor", "avx2", False)]
    assert [order.device_class for order in devices.orders] == ["gateway", "sensor"]


def test_a_class_without_a_device_is_stood_in_for_and_marked() -> None:
    assert measure(Devices({}), "gateway") == [("gateway", "portable", True)]


def test_nothing_stands_in_for_devices_that_were_there_and_could_not() -> None:
    devices = Devices({"gateway": 0, "sensor": 1}, errors={"sensor": "sensor-1: needs 9 MiB of RAM" + "!" * 9000})
    found = measure_all(devices, "gateway", "sensor")
    assert [m.device_class for m in found.measurements] == ["gateway"]
    (refusal,) = found.refusals
    assert refusal.device_class == "sensor"
    assert refusal.error.startswith("sensor-1: needs 9 MiB of RAM!")
    assert len(refusal.error) < 1000  # it is to fit into a verdict


def test_devices_that_never_answer_are_stood_in_for_after_the_timeout() -> None:
    assert measure(Devices({"gateway": 10**9}), "gateway", answer_timeout_s=0.0) == [("gateway", "portable", True)]


def test_a_target_for_every_class_asks_each_class_that_is_there() -> None:
    devices = Devices({"gateway": 0, "sensor": 0}, classes=("gateway", "sensor"))
    assert sorted(measure(devices, "*")) == [("gateway", "avx2", False), ("sensor", "avx2", False)]


def test_a_target_for_every_class_where_nothing_is_there_is_measured_here() -> None:
    assert measure(Devices({}), "*") == [("*", "portable", True)]
