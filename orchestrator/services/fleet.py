"""The agents' service. Who calls comes from the identity interceptor; what a device may say is checked in limits.py."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

from orchestrator import convert
from orchestrator.errors import ConflictError, FencedError, InvalidRequestError, NotFoundError
from orchestrator.records import ActionReport, Benchmark, Device
from orchestrator.services import limits
from orchestrator.services.context import Context
from orchestrator.services.doorbells import Doorbells
from orchestrator.services.identity import current_device
from orchestrator.services.liveness import Liveness
from orchestrator.store import BlobStore, Database, Session
from orchestrator.telemetry.ingest import TELEMETRY, check_ascending, take_samples, take_telemetry
from protos import fleet_pb2, fleet_pb2_grpc

logger = logging.getLogger(__name__)

PROTOCOL_VERSION = 1
TELEMETRY_RECORDS = 256
SAMPLES_PER_PUSH = 256
SAMPLE_BYTES = 256 * 1024
RANGES = 1024
SEQ_LIMIT = 1 << 62


@dataclass(frozen=True, kw_only=True)
class FleetTimes:
    """How often devices are asked to come back; set in orchestrator.config."""

    min_sync_s: float = 15.0
    max_syncs_per_s: float = 200.0
    """Over the whole fleet: above it the interval grows."""
    heartbeat_s: float = 30.0
    goodbye_retry_s: float = 1.0


class FleetService(fleet_pb2_grpc.FleetServicer):
    def __init__(
        self, database: Database, blobs: BlobStore, liveness: Liveness, doorbells: Doorbells, times: FleetTimes
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._liveness = liveness
        self._doorbells = doorbells
        self._times = times

    async def Sync(  # noqa: N802  # the name of the call
        self, request: fleet_pb2.SyncRequest, context: Context
    ) -> fleet_pb2.SyncResponse:
        _check_sync(request)
        device_id = current_device()

        def write(session: Session) -> fleet_pb2.SyncResponse:
            device = session.devices.observe(
                device_id,
                convert.facts_from(request.facts),
                accepted_generation=request.generation,
                running_digest=request.running_model_sha256.hex(),
                samples_consent=request.samples_consent,
            )
            return _desired(session, device)

        response = await self._database.write(write)
        self._liveness.seen(device_id)
        response.sync_after_s = self._sync_after_s()
        return response

    async def Watch(  # noqa: N802
        self, request: fleet_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[fleet_pb2.Doorbell]:
        limits.check_text("boot_id", request.boot_id, 64)
        device_id = current_device()
        epoch = await self._database.write(lambda session: session.devices.open_session(device_id))
        bell = self._doorbells.install(device_id, epoch)
        self._liveness.watch_opened(device_id)
        try:
            yield fleet_pb2.Doorbell(hello=fleet_pb2.Hello(session_epoch=epoch))
            while not self._doorbells.is_closing:
                rung = await bell.heard(self._times.heartbeat_s)
                if bell.is_replaced:
                    raise FencedError(f"a newer session of device {device_id!r} has been opened")
                if self._doorbells.is_closing:
                    break
                if rung:
                    yield fleet_pb2.Doorbell(sync_now=bell.revision)
                else:
                    yield fleet_pb2.Doorbell(heartbeat=fleet_pb2.Heartbeat())
            wait_s = self._times.goodbye_retry_s * random.uniform(1.0, 3.0)  # not all at once
            yield fleet_pb2.Doorbell(goodbye=fleet_pb2.Goodbye(retry_after_s=wait_s))
        finally:
            self._doorbells.remove(device_id, bell)
            self._liveness.watch_closed(device_id)

    async def Report(  # noqa: N802
        self, request: fleet_pb2.ReportRequest, context: Context
    ) -> fleet_pb2.ReportResponse:
        limits.check_text("boot_id", request.boot_id, 64)
        device_id = current_device()
        match request.WhichOneof("body"):
            case "action":
                report = _action_report(device_id, request.action, self._database.now_ms())
                await self._database.write(lambda session: session.devices.report(report))
            case "benchmark":
                await self._take_benchmark(device_id, request.benchmark)
            case _:
                raise InvalidRequestError("a report is of an action or of a benchmark; this one is of neither")
        self._liveness.seen(device_id)
        return fleet_pb2.ReportResponse()

    async def _take_benchmark(self, device_id: str, report: fleet_pb2.BenchmarkReport) -> None:
        limits.check_text("benchmark.id", report.id, 64, required=True)
        limits.check_text("benchmark.error", report.error, limits.MESSAGE_CHARS)
        if not report.error:
            limits.check_measurement(report.measurement)
            if not report.measurement.runs:
                raise InvalidRequestError(
                    "a measurement needs at least one run, or an error that says why there is none"
                )
        measurement = convert.measurement_from(report.measurement)
        result = report.error or measurement

        def write(session: Session) -> Benchmark:
            return session.benchmarks.add_result(report.id, device_id, result)

        await self._database.write(write)

    async def PushTelemetry(  # noqa: N802
        self, request: fleet_pb2.PushTelemetryRequest, context: Context
    ) -> fleet_pb2.PushTelemetryResponse:
        _check_telemetry(request)
        device_id = current_device()
        next_seq = await self._database.write(lambda session: take_telemetry(session, device_id, request))
        self._liveness.seen(device_id)
        return fleet_pb2.PushTelemetryResponse(next_seq=next_seq)

    async def PushSamples(  # noqa: N802
        self, request: fleet_pb2.PushSamplesRequest, context: Context
    ) -> fleet_pb2.PushSamplesResponse:
        _check_samples(request)
        device_id = current_device()
        next_seq, remaining = await self._database.write(lambda session: take_samples(session, device_id, request))
        self._liveness.seen(device_id)
        return fleet_pb2.PushSamplesResponse(next_seq=next_seq, quota_remaining=remaining)

    async def GetBlobs(  # noqa: N802
        self, request: fleet_pb2.GetBlobsRequest, context: Context
    ) -> AsyncIterator[fleet_pb2.BlobChunk]:
        limits.check_count("ranges", request.ranges, RANGES)
        wanted = [(limits.check_digest("ranges.sha256", entry.sha256), entry.offset) for entry in request.ranges]
        for digest, offset in wanted:
            async for chunk in blob_chunks(self._blobs, digest, offset):
                yield chunk
        self._liveness.seen(current_device())

    def _sync_after_s(self) -> float:
        """Grows with the fleet, so that syncs come in at a bounded rate, and is spread, so that they do not bunch."""
        interval_s = max(self._times.min_sync_s, self._liveness.known / self._times.max_syncs_per_s)
        return interval_s * random.uniform(1.0, 2.0)


async def blob_chunks(blobs: BlobStore, digest: str, offset: int) -> AsyncIterator[fleet_pb2.BlobChunk]:
    """A blob from `offset`; one empty chunk where nothing is left, so that its size is always told.

    Raises:
        NotFoundError: no such blob.
        InvalidRequestError: `offset` lies beyond its end.
    """
    size = await blobs.size_async(digest)
    if size is None:
        raise NotFoundError(f"no blob {digest} is here")
    if offset > size:
        raise InvalidRequestError(f"blob {digest} has {size} bytes; offset {offset} lies beyond its end")
    sha256 = bytes.fromhex(digest)
    if offset == size:
        yield fleet_pb2.BlobChunk(sha256=sha256, offset=offset, size_bytes=size)
    async for position, data in blobs.iterate(digest, offset):
        yield fleet_pb2.BlobChunk(sha256=sha256, offset=position, size_bytes=size, data=data)


def _desired(session: Session, device: Device) -> fleet_pb2.SyncResponse:
    """What a device should do, as far as this database knows."""
    response = fleet_pb2.SyncResponse(
        committed_generation=device.committed_generation,
        telemetry_next_seq=session.telemetry.latest_next_seq(device.id, TELEMETRY),
    )
    assignment = device.assignment
    # A database restored from a backup may know less than the device: then the device is right until told anew.
    if assignment is not None and assignment.generation >= device.accepted_generation:
        response.assignment.CopyFrom(convert.assignment(assignment))
    for benchmark in session.benchmarks.open_for(device.id):
        response.benchmarks.add(
            id=benchmark.id,
            model=convert.blob_ref(benchmark.model_digest, benchmark.model_size_bytes),
            warmup=benchmark.warmup,
            runs=benchmark.runs,
        )
    remaining = session.samples.remaining(device.id) if device.samples_consent else None
    response.sample_quota.wanted = remaining is not None
    response.sample_quota.remaining = remaining or 0
    return response


def _check_sync(request: fleet_pb2.SyncRequest) -> None:
    if request.protocol_version != PROTOCOL_VERSION:
        raise ConflictError(
            f"this control plane speaks protocol version {PROTOCOL_VERSION}, the agent {request.protocol_version}"
        )
    limits.check_text("boot_id", request.boot_id, 64)
    limits.check_text("action_id", request.action_id, 64)
    limits.check_facts(request.facts)
    limits.check_counter("generation", request.generation)
    limits.check_optional_digest("running_model_sha256", request.running_model_sha256)


def _action_report(device_id: str, report: fleet_pb2.ActionReport, now_ms: int) -> ActionReport:
    limits.check_text("action.action_id", report.action_id, 64, required=True)
    limits.check_text("action.detail", report.detail, limits.MESSAGE_CHARS)
    limits.check_counter("action.generation", report.generation)
    limits.check_counter("action.seq", report.seq)
    state = convert.action_state_from(report.state)
    if state is None:
        raise InvalidRequestError(f"{report.state} is no state of an action")
    limits.check_pairs(report.pairs)
    return ActionReport(
        action_id=report.action_id,
        device_id=device_id,
        generation=report.generation,
        seq=report.seq,
        state=state,
        detail=report.detail,
        pairs=convert.pairs_from(report.pairs) if report.HasField("pairs") else None,
        at_ms=now_ms,
    )


def _check_telemetry(request: fleet_pb2.PushTelemetryRequest) -> None:
    limits.check_text("spool_id", request.spool_id, 64, required=True)
    limits.check_count("records", request.records, TELEMETRY_RECORDS)
    for record in request.records:
        match record.WhichOneof("body"):
            case "window":
                _check_seq(record.seq)
                limits.check_window(record.window)
            case "dropped":
                _check_seq(record.dropped.first_seq)
                _check_seq(record.dropped.last_seq)
                limits.check_text("dropped.reason", record.dropped.reason, 256)
            case _:
                raise InvalidRequestError(f"record {record.seq} holds neither a window nor a dropped range")


def _check_samples(request: fleet_pb2.PushSamplesRequest) -> None:
    limits.check_text("spool_id", request.spool_id, 64, required=True)
    limits.check_count("samples", request.samples, SAMPLES_PER_PUSH)
    for sample in request.samples:
        _check_seq(sample.seq)
        limits.check_digest("sample.model_sha256", sample.model_sha256)
        limits.check_number("sample.observed_at_ms", sample.observed_at_ms, high=limits.TIME_LIMIT_MS)
        if sample.WhichOneof("input") is None:
            raise InvalidRequestError(f"sample {sample.seq} has no input")
        if max(sample.label, sample.predicted) >= limits.CLASSES_LIMIT:
            raise InvalidRequestError(f"sample {sample.seq}: a class is below {limits.CLASSES_LIMIT}")
        if len(sample.raw) + len(sample.float32) > SAMPLE_BYTES or len(sample.float32) % 4:
            raise InvalidRequestError(f"sample {sample.seq}: its input is too large or no array of float32")
    check_ascending([sample.seq for sample in request.samples])


def _check_seq(seq: int) -> None:
    if not 1 <= seq < SEQ_LIMIT:
        raise InvalidRequestError(f"sequence numbers begin at 1 and stay below 2^62, not {seq}")
