"""Benchmarks find their devices, and end where nobody answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.controllers.benchmarks import BenchmarkController
from orchestrator.controllers.config import ControllersConfig
from orchestrator.records import Benchmark, Measurement
from tests.unit.controllers.control_records import OLD, Records


@pytest.fixture
def controller(records: Records, tmp_path: Path) -> BenchmarkController:
    config = ControllersConfig(
        data_dir=tmp_path, operator_address="127.0.0.1:1", benchmark_wait_s=30.0, benchmark_timeout_s=100.0
    )
    return BenchmarkController(records.database, config)


async def order(records: Records, **changes: object) -> None:
    benchmark = Benchmark(
        **{"id": "b1", "job_id": "j", "device_class": "gateway", "model_digest": OLD, "model_size_bytes": 1,
           "warmup": 1, "runs": 1, "requested_at_ms": records.clock()} | changes  # type: ignore[arg-type]
    )  # fmt: skip
    await records.do(lambda session: session.benchmarks.put(benchmark))


async def found(records: Records) -> Benchmark:
    return await records.database.read(lambda session: session.benchmarks.get("b1"))


async def set_online(records: Records, device_id: str, online: bool) -> None:
    await records.do(lambda session: session.devices.set_online(device_id, online))


async def test_as_many_free_devices_of_the_class_as_ordered_are_asked(
    records: Records, controller: BenchmarkController
) -> None:
    await records.publish(OLD)
    await records.add_device("busy", running=OLD)
    await records.do(lambda session: session.devices.assign("busy", session.models.get(OLD)))
    for name in ("a", "b", "c"):
        await records.add_device(name)
    await records.add_device("phone", device_class="phone")
    await set_online(records, "a", False)
    await order(records, devices=2)
    await controller.reconcile()
    assert (await found(records)).device_ids == ("b", "c")
    before = records.database.revision
    await controller.reconcile()
    assert records.database.revision == before


async def test_a_class_without_devices_is_measured_elsewhere_at_once(
    records: Records, controller: BenchmarkController
) -> None:
    await order(records)
    await controller.reconcile()
    benchmark = await found(records)
    assert (benchmark.done, benchmark.no_device) == (True, True)


async def test_devices_that_are_away_are_waited_for_but_not_for_ever(
    records: Records, controller: BenchmarkController
) -> None:
    await records.add_device("a")
    await set_online(records, "a", False)
    await order(records)
    await controller.reconcile()
    assert not (await found(records)).done
    records.clock.advance(31)
    await controller.reconcile()
    assert (await found(records)).no_device


async def test_a_device_that_does_not_answer_closes_the_benchmark_with_an_error(
    records: Records, controller: BenchmarkController
) -> None:
    await records.add_device("a")
    await order(records, device_ids=("a",))
    records.clock.advance(99)
    await controller.reconcile()
    assert not (await found(records)).done
    records.clock.advance(2)
    await controller.reconcile()
    benchmark = await found(records)
    assert (benchmark.done, benchmark.no_device) == (True, False)
    assert benchmark.errors == ("1 of 1 devices did not answer within 101 s",)


async def test_what_was_measured_is_kept_where_another_device_stays_silent(
    records: Records, controller: BenchmarkController
) -> None:
    await records.add_device("a")
    await records.add_device("b")
    await order(records, device_ids=("a", "b"))
    measured = Measurement(
        device_class="gateway",
        engine_path="portable",
        latency_p50_us=1.0,
        latency_p95_us=2.0,
        runs=1,
        peak_ram_bytes=1,
    )
    await records.do(lambda session: session.benchmarks.add_result("b1", "a", measured))
    records.clock.advance(101)
    await controller.reconcile()
    benchmark = await found(records)
    assert benchmark.done
    assert benchmark.measurements == (measured,)
    assert "1 of 2" in benchmark.errors[0]


async def test_a_class_that_refused_is_not_one_without_devices_even_once_all_of_them_are_away(
    records: Records, controller: BenchmarkController
) -> None:
    for name in ("a", "b"):
        await records.add_device(name)
    await order(records, device_ids=("a", "b"))
    await records.do(lambda session: session.benchmarks.add_result("b1", "a", "needs 9 MiB of RAM"))
    for name in ("a", "b"):
        await set_online(records, name, False)
    records.clock.advance(31)
    await controller.reconcile()
    benchmark = await found(records)
    assert (benchmark.done, benchmark.no_device) == (True, False)
    assert benchmark.errors == ("a: needs 9 MiB of RAM", "1 of 2 devices did not answer within 31 s")


async def test_a_device_that_was_asked_and_went_away_is_given_up_sooner(
    records: Records, controller: BenchmarkController
) -> None:
    await records.add_device("a")
    await order(records, device_ids=("a",))
    await set_online(records, "a", False)
    records.clock.advance(31)
    await controller.reconcile()
    assert (await found(records)).no_device
