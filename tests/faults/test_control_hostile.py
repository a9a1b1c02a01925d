"""Hostile callers: what is malformed, oversized or not theirs is refused with a reason, and nothing else happens."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import OrchestratorError
from orchestrator.metadata import DEVICE_ID_KEY
from protos import fleet_pb2, fleet_pb2_grpc, model_pb2, operator_pb2, operator_pb2_grpc
from tests.control_plane import RunningControlPlane, control_plane, digest_of, records, sync_request, window

REFUSALS = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
SHA = digest_of("m")


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[RunningControlPlane]:
    async with control_plane(tmp_path) as running:
        yield running


def raw_call(channel: grpc.aio.Channel, method: str, *, streams_in: bool, streams_out: bool) -> Any:
    kind = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }[streams_in, streams_out]
    return kind(method, request_serializer=None, response_deserializer=None)


def methods() -> list[tuple[str, str, bool, bool]]:
    """Every call of both ports: port, name, whether it takes and answers with a stream."""
    found = []
    for port, module in (("agents", fleet_pb2), ("operators", operator_pb2)):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                name = f"/{service.full_name}/{method.name}"
                found.append((port, name, method.client_streaming, method.server_streaming))
    return found


async def status_of(call: Any) -> grpc.StatusCode:
    try:
        if hasattr(call, "read"):
            while await call.read() is not grpc.aio.EOF:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return await call.code()


async def test_malformed_bytes_are_an_invalid_argument_at_every_call(plane: RunningControlPlane) -> None:
    """gRPC's own answer would be UNKNOWN, with the text of a Python exception."""
    for port, name, streams_in, streams_out in methods():
        address = plane.agents_address if port == "agents" else plane.operators_address
        async with grpc.aio.insecure_channel(address) as channel:
            garbage = b"\x0a\xff\xff\xff\xff\x0f"
            request: Any = iter([garbage]) if streams_in else garbage
            call = raw_call(channel, name, streams_in=streams_in, streams_out=streams_out)(
                request, timeout=5, metadata=((DEVICE_ID_KEY, "cam-1"),)
            )
            assert await status_of(call) is grpc.StatusCode.INVALID_ARGUMENT, name


async def test_no_agents_call_is_answered_without_an_identity(plane: RunningControlPlane) -> None:
    async with grpc.aio.insecure_channel(plane.agents_address) as channel:
        for port, name, streams_in, streams_out in methods():
            if port == "agents":
                call = raw_call(channel, name, streams_in=streams_in, streams_out=streams_out)(b"", timeout=5)
                assert await status_of(call) is grpc.StatusCode.UNAUTHENTICATED, name


async def test_operators_calls_are_not_served_to_agents_and_the_reverse(plane: RunningControlPlane) -> None:
    for port, name, streams_in, streams_out in methods():
        address = plane.operators_address if port == "agents" else plane.agents_address
        async with grpc.aio.insecure_channel(address) as channel:
            request: Any = iter([b""]) if streams_in else b""
            call = raw_call(channel, name, streams_in=streams_in, streams_out=streams_out)(
                request, timeout=5, metadata=((DEVICE_ID_KEY, "cam-1"),)
            )
            assert await status_of(call) is grpc.StatusCode.UNIMPLEMENTED, name


FACTS = {
    "a class that is missing": {"device_class": ""},
    "a class that is too long": {"device_class": "x" * 64},
    "too many engine paths": {"device_class": "x", "engine_paths": ["p"] * 33},
    "a limit that is not a number": {"device_class": "x", "latency_p95_limit_ms": math.nan},
    "a limit that is infinite": {"device_class": "x", "latency_p95_limit_ms": math.inf},
    "a limit below zero": {"device_class": "x", "latency_p95_limit_ms": -1.0},
    "more bytes than there can be": {"device_class": "x", "ram_bytes_limit": 1 << 60},
    "a NUL": {"device_class": "x\x00"},
}


@pytest.mark.parametrize("facts", FACTS.values(), ids=FACTS.keys())
async def test_impossible_facts_are_refused(plane: RunningControlPlane, facts: dict[str, Any]) -> None:
    async with plane.agent("cam-1") as agent:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await agent.call("Sync", sync_request(facts=fleet_pb2.DeviceFacts(**facts)))
        assert caught.value.code() in REFUSALS
        assert not (await plane.client.devices.list()).devices


def sketch(**fields: Any) -> fleet_pb2.Sketch:
    return fleet_pb2.Sketch(relative_error=0.01, **fields)


WINDOWS = {
    "no digest": {"model_sha256": b"short"},
    "an end before its start": {"start_ms": 10, "end_ms": 5},
    "a start before time": {"start_ms": -5},
    "an end after time": {"end_ms": 1 << 60},
    "counters that no device reaches": {"requests": 1 << 60},
    "more correct than labelled": {"labelled": 1, "labelled_correct": 2},
    "a histogram of another shape": {"confidence_histogram": [1] * 31},
    "too many classes": {"class_counts": [1] * 5000},
    "bins that overflow": {"class_counts": [1 << 63, 1 << 63]},
    "infinite CPU": {"cpu_seconds": math.inf},
    "a sketch whose lists differ": {"engine_latency_us": sketch(bins=[1, 2], counts=[1])},
    "a sketch of nothing": {"engine_latency_us": sketch(bins=[1], counts=[0])},
    "a sketch with an infinite sum": {"engine_latency_us": sketch(bins=[1], counts=[1], sum=math.inf, min=1, max=1)},
    "a sketch of endless bins": {"request_latency_us": sketch(bins=[1] * 100_000, counts=[1] * 100_000)},
}


@pytest.mark.parametrize("fields", WINDOWS.values(), ids=WINDOWS.keys())
async def test_impossible_windows_are_refused_and_the_cursor_stays(
    plane: RunningControlPlane, fields: dict[str, Any]
) -> None:
    async with plane.agent("cam-1") as agent:
        await agent.sync()
        bad = window()
        bad.MergeFrom(fleet_pb2.Window(**fields))
        pushed = [*records(1, 1), fleet_pb2.TelemetryRecord(seq=2, window=bad)]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await agent.push(pushed)
        assert caught.value.code() in REFUSALS
        assert await agent.push(records(1, 1)) == 2


PUSHES = {
    "too many records": records(1, 257),
    "no body": [fleet_pb2.TelemetryRecord(seq=1)],
    "a number before the first": [fleet_pb2.TelemetryRecord(seq=0, window=window())],
    "numbers that do not rise": [*records(1, 1), *records(1, 1)],
    "a range that is reversed": [
        fleet_pb2.TelemetryRecord(seq=1, dropped=fleet_pb2.DroppedRange(first_seq=1, last_seq=0))
    ],
    "a range without end": [
        fleet_pb2.TelemetryRecord(seq=1, dropped=fleet_pb2.DroppedRange(first_seq=1, last_seq=(1 << 64) - 1))
    ],
}


@pytest.mark.parametrize("pushed", PUSHES.values(), ids=PUSHES.keys())
async def test_impossible_pushes_are_refused(
    plane: RunningControlPlane, pushed: list[fleet_pb2.TelemetryRecord]
) -> None:
    async with plane.agent("cam-1") as agent:
        await agent.sync()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await agent.push(pushed)
        assert caught.value.code() in REFUSALS


SAMPLES = {
    "no input": {"seq": 1, "model_sha256": SHA},
    "a float input that is none": {"seq": 1, "model_sha256": SHA, "float32": b"123"},
    "a class beyond all": {"seq": 1, "model_sha256": SHA, "raw": b"1", "label": 1 << 31},
    "too large": {"seq": 1, "model_sha256": SHA, "raw": b"1" * 300_000},
    "no digest": {"seq": 1, "raw": b"1"},
    "no number": {"model_sha256": SHA, "raw": b"1"},
}


@pytest.mark.parametrize("fields", SAMPLES.values(), ids=SAMPLES.keys())
async def test_impossible_samples_are_refused(plane: RunningControlPlane, fields: dict[str, Any]) -> None:
    async with plane.agent("cam-1") as agent:
        await agent.sync(samples_consent=True)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await agent.push_samples([fleet_pb2.Sample(**fields)])
        assert caught.value.code() in REFUSALS


async def test_metadata_beyond_the_limit_is_refused(plane: RunningControlPlane) -> None:
    async with grpc.aio.insecure_channel(plane.agents_address) as channel:
        stub = fleet_pb2_grpc.FleetStub(channel)
        metadata = ((DEVICE_ID_KEY, "cam-1"), ("x-big", "y" * 20_000))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Sync(sync_request(), timeout=5, metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_blob_that_lies_about_itself_never_gets_its_name(plane: RunningControlPlane) -> None:
    async with grpc.aio.insecure_channel(plane.operators_address) as channel:
        stub = operator_pb2_grpc.BlobsStub(channel)

        def put(sha256: bytes, size: int, offset: int, *parts: bytes) -> Any:
            header = operator_pb2.PutBlobHeader(blob=model_pb2.BlobRef(sha256=sha256, size_bytes=size), offset=offset)
            messages = [operator_pb2.PutBlobRequest(header=header)]
            messages += [operator_pb2.PutBlobRequest(data=part) for part in parts]
            return stub.Put(iter(messages), timeout=5)

        assert await status_of(put(SHA, 5, 0, b"other")) is grpc.StatusCode.DATA_LOSS
        assert await status_of(put(SHA, 5, 0, b"longer than it said")) is grpc.StatusCode.INVALID_ARGUMENT
        assert await status_of(put(SHA, 5, 0, b"1")) is grpc.StatusCode.FAILED_PRECONDITION
        assert await status_of(put(SHA, 5, 3, b"12")) is grpc.StatusCode.FAILED_PRECONDITION
        assert await status_of(put(SHA, 1 << 50, 0)) is grpc.StatusCode.INVALID_ARGUMENT
        assert await status_of(put(b"short", 5, 0)) is grpc.StatusCode.INVALID_ARGUMENT
        assert await status_of(stub.Put(iter([]), timeout=5)) is grpc.StatusCode.INVALID_ARGUMENT
    assert plane.blobs.size(SHA.hex()) is None


async def test_a_fault_of_the_server_says_nothing_about_its_insides(
    plane: RunningControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    """A record that cannot be read any more is a fault; its text and its traceback stay in the log."""
    await plane.client.policies.apply(
        "apiVersion: espalier/v1\nkind: RecompressionPolicy\nmetadata: {name: keep}\n"
        "spec: {modelName: m, triggers: {accuracy: {floor: 0.8}}}\n"
    )
    await plane.database.write(
        lambda session: session.connection.exec_driver_sql("UPDATE policies SET record = 'secret'") and None
    )
    with pytest.raises(OrchestratorError, match="its log has the reason") as caught:
        await plane.client.policies.list()
    assert "secret" not in str(caught.value)
    assert "Traceback" in caplog.text


messages = st.sampled_from(
    [
        ("Sync", fleet_pb2.SyncRequest),
        ("Report", fleet_pb2.ReportRequest),
        ("PushTelemetry", fleet_pb2.PushTelemetryRequest),
        ("PushSamples", fleet_pb2.PushSamplesRequest),
    ]
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(messages, st.binary(max_size=200)), min_size=1, max_size=20))
async def test_no_bytes_whatever_are_answered_with_a_fault(
    tmp_path_factory: pytest.TempPathFactory, sent: list[tuple[tuple[str, Any], bytes]]
) -> None:
    async with (
        control_plane(tmp_path_factory.mktemp("plane")) as plane,
        grpc.aio.insecure_channel(plane.agents_address) as channel,
    ):
        for (method, _), data in sent:
            call = raw_call(channel, f"/espalier.fleet.v1.Fleet/{method}", streams_in=False, streams_out=False)
            code = await status_of(call(data, timeout=5, metadata=((DEVICE_ID_KEY, "cam-1"),)))
            assert code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), (method, data)


def test_the_table_of_methods_is_complete() -> None:
    """If a service is added, the tests above know it."""
    assert len(methods()) >= 45
