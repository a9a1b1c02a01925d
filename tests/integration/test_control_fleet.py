"""The agents' service against real servers: sync, doorbells, reports, telemetry, samples, blobs."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from orchestrator.metadata import NEXT_SEQ_KEY
from orchestrator.records import Benchmark, ProbationTerms, PublishedModel
from protos import fleet_pb2, model_pb2
from tests.control_plane import RunningControlPlane, control_plane, digest_of, records, until

MODEL = PublishedModel(
    digest=digest_of("m").hex(), name="fashion", size_bytes=9, file_bytes=5, published_at_ms=1, job_id="j"
)
TERMS = ProbationTerms(
    timeout_s=9.0, max_error_rate=0.1, max_latency_p95_ms=0.0, slower_ratio=2.0, guard_min_requests=7
)


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[RunningControlPlane]:
    async with control_plane(tmp_path) as running:
        await running.database.write(lambda session: session.models.put(MODEL))
        yield running


async def assign(plane: RunningControlPlane, device_id: str = "cam-1") -> Any:
    return await plane.database.write(lambda session: session.devices.assign(device_id, MODEL, probation=TERMS))


async def next_of(stream: Any, kind: str) -> fleet_pb2.Doorbell:
    """The next doorbell of this kind."""
    async with asyncio.timeout(5):
        while True:
            doorbell = await stream.read()
            assert doorbell is not grpc.aio.EOF, "the watch ended"
            if doorbell.WhichOneof("kind") == kind:
                return doorbell


async def refused(call: Any, code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is code, caught.value.details()
    return caught.value


async def test_a_device_is_known_after_its_first_sync_and_told_what_to_run(plane: RunningControlPlane) -> None:
    async with plane.agent("cam-1") as agent:
        nothing_yet = await agent.sync()
        assert not nothing_yet.HasField("assignment")
        assert 0.2 <= nothing_yet.sync_after_s <= 0.4
        given = await assign(plane)
        answer = await agent.sync()
        assert answer.assignment.generation == 1
        assert answer.assignment.model.sha256.hex() == MODEL.digest
        assert answer.assignment.model.size_bytes == MODEL.file_bytes
        assert answer.assignment.probation.guard_min_requests == 7
        assert answer.assignment.action_id == given.action_id
    device = await plane.client.devices.get("cam-1")
    assert (device.facts.device_class, device.online) == ("gateway", True)


async def test_a_device_that_knows_more_than_a_restored_server_is_left_alone(plane: RunningControlPlane) -> None:
    async with plane.agent("cam-1") as agent:
        await agent.sync()
        await assign(plane)
        assert not (await agent.sync(generation=7)).HasField("assignment")
        await assign(plane)
        assert (await agent.sync(generation=7)).assignment.generation == 8


async def test_the_doorbell_rings_for_an_assignment_a_commit_and_a_benchmark(plane: RunningControlPlane) -> None:
    async with plane.agent("cam-1") as agent, plane.agent("cam-2") as other:
        await agent.sync()
        await other.sync()
        watch, other_watch = agent.watch(), other.watch()
        assert (await next_of(watch, "hello")).hello.session_epoch == 1
        await next_of(other_watch, "hello")
        await assign(plane)
        first = (await next_of(watch, "sync_now")).sync_now
        await plane.database.write(lambda session: session.devices.commit("cam-1", 1))
        second = (await next_of(watch, "sync_now")).sync_now
        assert second > first
        assert (await agent.sync()).committed_generation == 1
        benchmark = Benchmark(
            id="b1", job_id="j", device_class="gateway", model_digest=MODEL.digest, model_size_bytes=5, warmup=1,
            runs=2, device_ids=("cam-1",),
        )  # fmt: skip
        await plane.database.write(lambda session: session.benchmarks.put(benchmark))
        await next_of(watch, "sync_now")
        assert [entry.id for entry in (await agent.sync()).benchmarks] == ["b1"]
        await next_of(other_watch, "heartbeat")
        assert (await other_watch.read()).WhichOneof("kind") == "heartbeat"
        watch.cancel()
        other_watch.cancel()


async def test_a_newer_watch_of_the_same_device_ends_the_older(plane: RunningControlPlane) -> None:
    async with plane.agent("cam-1") as agent:
        await agent.sync()
        older = agent.watch()
        assert (await next_of(older, "hello")).hello.session_epoch == 1
        newer = agent.watch()
        assert (await next_of(newer, "hello")).hello.session_epoch == 2
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await next_of(older, "goodbye")
        assert caught.value.code() is grpc.StatusCode.ABORTED
        newer.cancel()


async def test_agents_are_told_goodbye_at_shutdown(plane: RunningControlPlane) -> None:
    async with plane.agent("cam-1") as agent:
        await agent.sync()
        watch = agent.watch()
        await next_of(watch, "hello")
        stopping = asyncio.create_task(plane.servers.stop(2.0))
        assert (await next_of(watch, "goodbye")).goodbye.retry_after_s > 0
        assert await watch.read() is grpc.aio.EOF
        await stopping


async def test_a_device_is_online_while_it_watches_and_offline_some_time_after(tmp_path: Path) -> None:
    async with control_plane(tmp_path, offline_after_s=0.3) as plane, plane.agent("cam-1") as agent:
        await agent.sync()
        watch = agent.watch()
        await next_of(watch, "hello")
        events = plane.client.devices.watch(from_revision=plane.database.revision, id="cam-1")
        for _ in range(5):  # several times the interval after which it would count as offline
            await next_of(watch, "heartbeat")
        assert (await plane.client.devices.get("cam-1")).online
        watch.cancel()
        async with asyncio.timeout(5):
            assert not (await anext(events)).device.online
            await agent.sync()
            assert (await anext(events)).device.online
        await events.aclose()


async def test_reports_are_taken_once_in_order_and_an_end_is_an_end(plane: RunningControlPlane) -> None:
    async with plane.agent("cam-1") as agent:
        await agent.sync()
        given = await assign(plane)
        common = {"action_id": given.action_id, "generation": 1}
        pairs = fleet_pb2.PairCounts(pairs=5, agreements=4, both_correct=2)
        await agent.report(**common, seq=1, state=fleet_pb2.DOWNLOADING)
        await agent.report(**common, seq=1, state=fleet_pb2.DOWNLOADING)
        await agent.report(**common, seq=3, state=fleet_pb2.PROBATION, pairs=pairs)
        device = await plane.client.devices.get("cam-1")
        assert (device.action_state, device.pairs.pairs) == (fleet_pb2.PROBATION, 5)
        await refused(agent.report(**common, seq=2, state=fleet_pb2.STAGED), grpc.StatusCode.FAILED_PRECONDITION)
        await agent.report(**common, seq=4, state=fleet_pb2.COMMITTED)
        await agent.report(**common, seq=4, state=fleet_pb2.COMMITTED)
        await refused(agent.report(**common, seq=5, state=fleet_pb2.FAILED), grpc.StatusCode.FAILED_PRECONDITION)
        device = await plane.client.devices.get("cam-1")
        assert device.running_model_sha256.hex() == MODEL.digest
        assert device.committed_generation == 1


async def test_a_device_cannot_report_on_anothers_action(plane: RunningControlPlane) -> None:
    async with plane.agent("cam-1") as agent, plane.agent("cam-2") as liar:
        await agent.sync()
        await liar.sync()
        given = await assign(plane)
        lie = liar.report(action_id=given.action_id, generation=1, seq=1, state=fleet_pb2.COMMITTED)
        await refused(lie, grpc.StatusCode.NOT_FOUND)
    assert (await plane.client.devices.get("cam-1")).action_state == fleet_pb2.ASSIGNED


async def test_a_benchmark_is_answered_and_its_driver_told(plane: RunningControlPlane) -> None:
    model = await plane.client.blobs.put(b"model")
    order = await plane.client.drivers.request_benchmark(
        "j", device_class="gateway", model=model_pb2.BlobRef(sha256=bytes.fromhex(model), size_bytes=5)
    )
    again = await plane.client.drivers.request_benchmark(
        "j", device_class="gateway", model=model_pb2.BlobRef(sha256=bytes.fromhex(model), size_bytes=5)
    )
    assert again.id == order.id
    async with plane.agent("cam-1") as agent:
        await agent.sync()
        waiting = asyncio.create_task(plane.client.drivers.wait_for_benchmark(order.id))

        def choose(session: Any) -> None:  # as the controller does
            opened = session.benchmarks.get(order.id)
            session.benchmarks.put(dataclasses.replace(opened, device_ids=("cam-1",)))

        await plane.database.write(choose)
        measurement = model_pb2.Measurement(device_class="gateway", latency_p95_us=3.0, runs=200)
        report = fleet_pb2.BenchmarkReport(id=order.id, measurement=measurement)
        for _ in range(2):
            await agent.call("Report", fleet_pb2.ReportRequest(benchmark=report))
        done = await asyncio.wait_for(waiting, 5)
    assert done.done
    assert [entry.latency_p95_us for entry in done.measurements] == [3.0]


async def test_telemetry_is_acknowledged_once_and_gaps_are_told(plane: RunningControlPlane) -> None:
    async with plane.agent("cam-1") as agent:
        await refused(agent.push(records(1, 1)), grpc.StatusCode.FAILED_PRECONDITION)
        await agent.sync()
        assert await agent.push(records(1, 3)) == 4
        assert await agent.push(records(2, 4)) == 6
        gap = await refused(agent.push(records(9, 2)), grpc.StatusCode.FAILED_PRECONDITION)
        assert dict(gap.trailing_metadata() or ())[NEXT_SEQ_KEY] == "6"
        dropped = fleet_pb2.DroppedRange(first_seq=6, last_seq=8, reason="the spool was full")
        explained = [fleet_pb2.TelemetryRecord(seq=8, dropped=dropped), *records(9, 2)]
        assert await agent.push(explained) == 11
        assert await agent.push(explained) == 11
        assert (await agent.sync()).telemetry_next_seq == 11
        assert await agent.push(records(1, 1), spool_id="another") == 2
    summary = (await plane.client.telemetry.query()).summaries[0]
    assert (summary.total.requests, summary.windows, summary.dropped_records) == (8, 8, 3)


async def test_samples_come_back_only_with_consent_and_only_as_many_as_asked_for(plane: RunningControlPlane) -> None:
    def samples(first: int, count: int) -> list[fleet_pb2.Sample]:
        return [
            fleet_pb2.Sample(seq=seq, model_sha256=digest_of("m"), label=1, raw=b"pixels")
            for seq in range(first, first + count)
        ]

    async with plane.agent("cam-1") as agent:
        await agent.sync()
        await refused(agent.push_samples(samples(1, 1)), grpc.StatusCode.PERMISSION_DENIED)
        assert not (await agent.sync(samples_consent=True)).sample_quota.wanted
        await plane.database.write(lambda session: session.samples.ask("cam-1", 3))
        quota = (await agent.sync(samples_consent=True)).sample_quota
        assert (quota.wanted, quota.remaining) == (True, 3)
        answer = await agent.push_samples(samples(1, 2))
        assert (answer.next_seq, answer.quota_remaining) == (3, 1)
        answer = await agent.push_samples(samples(1, 2))
        assert (answer.next_seq, answer.quota_remaining) == (3, 1)
        answer = await agent.push_samples(samples(5, 3))
        assert (answer.next_seq, answer.quota_remaining) == (8, 0)
    stats = (await plane.client.devices.sample_stats()).stats
    assert [(entry.device_id, entry.samples) for entry in stats] == [("cam-1", 3)]
    assert stats[0].expires_at_ms > stats[0].oldest_ms
    assert (await plane.client.devices.delete_samples("cam-1")).deleted == 3
    assert not (await plane.client.devices.sample_stats()).stats


async def test_blobs_come_from_an_offset_and_only_blobs_come(plane: RunningControlPlane) -> None:
    data = os.urandom(600_000)
    digest, empty = plane.blobs.put_bytes(data), plane.blobs.put_bytes(b"")
    async with plane.agent("cam-1") as agent:
        chunks = await agent.get_blobs([(digest, 100_000), (empty, 0), (digest, 600_000)])
        assert b"".join(chunk.data for chunk in chunks) == data[100_000:]
        assert max(len(chunk.data) for chunk in chunks) == 256 * 1024
        assert [chunk.size_bytes for chunk in chunks][-3:] == [600_000, 0, 600_000]
        await refused(agent.get_blobs([("ab" * 32, 0)]), grpc.StatusCode.NOT_FOUND)
        await refused(agent.get_blobs([(digest, 600_001)]), grpc.StatusCode.INVALID_ARGUMENT)


async def test_an_idle_sync_writes_nothing(plane: RunningControlPlane) -> None:
    async with plane.agent("cam-1") as agent:
        await agent.sync()
        revision = plane.database.revision
        for _ in range(5):
            await agent.sync()
    assert plane.database.revision == revision


async def test_many_agents_at_once_lose_no_call(plane: RunningControlPlane) -> None:
    """Far more than gRPC's own limit of pending requests, in one burst on few connections."""
    agents = [plane.agent(f"cam-{number}") for number in range(8)]
    try:
        for round_number in range(2):
            answers = await asyncio.gather(*(agent.sync() for agent in agents for _ in range(60)))
            assert len(answers) == 480, round_number
    finally:
        for agent in agents:
            await agent.channel.close()


async def test_the_event_log_never_misses_or_reorders_under_load(plane: RunningControlPlane) -> None:
    listed = await plane.client.devices.list()
    seen: list[int] = []

    async def follow() -> None:
        async for event in plane.client.devices.watch(from_revision=listed.revision):
            seen.append(event.revision)
            if len(seen) == 100:
                return

    following = asyncio.create_task(follow())
    agents = [plane.agent(f"cam-{number}") for number in range(10)]
    for generation in range(1, 11):
        await asyncio.gather(*(agent.sync(generation=generation) for agent in agents))
    await asyncio.wait_for(following, 10)
    assert seen == sorted(set(seen))
    for agent in agents:
        await agent.channel.close()


async def test_liveness_is_restored_after_a_restart(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane, plane.agent("cam-1") as agent:
        await agent.sync()
    async with control_plane(tmp_path, offline_after_s=0.2) as plane:

        async def is_offline() -> bool:
            return not (await plane.client.devices.get("cam-1")).online

        await until(is_offline)
