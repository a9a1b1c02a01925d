"""A control plane in memory behind a real gRPC server, which keeps its word until it is told to lie.

Tests drive an agent with it and look at what reached the other side. It implements the agents' service only and decides
nothing: what a device should run is what the test assigns.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from edge_agent.life import ModelRef
from protos import fleet_pb2 as pb
from protos import fleet_pb2_grpc, model_pb2
from tests.models import BuiltModel

logger = logging.getLogger(__name__)

DEADLINE_S = 20.0


@dataclass
class Lies:
    """What the simulated control plane does wrong; everything is off at first."""

    is_unavailable: bool = False
    """Every call ends as UNAVAILABLE."""
    cut_after_bytes: list[int] = field(default_factory=list)
    """Each download takes one from here and breaks after so many bytes."""
    wrong_bytes: dict[str, int] = field(default_factory=dict)
    """Digest to how often its bytes are delivered with the last one changed."""
    chunk_delay_s: float = 0.0
    repeats_chunks: bool = False
    """Each chunk of a download comes twice."""
    loses_telemetry_answers: int = 0
    """So many pushes are taken, and their answer is lost."""
    forgets_cursor_to: int | None = None
    """Once: as after a restore from an old backup, the telemetry cursor falls to this."""
    refuses_reports: bool = False
    loses_report_answers: int = 0
    rings_without_reason: int = 0
    """So many needless doorbells when a watch begins."""


class SimulatedControlPlane(fleet_pb2_grpc.FleetServicer):
    def __init__(self, *, chunk_bytes: int = 1024, sync_after_s: float = 30.0) -> None:
        self.lies = Lies()
        self.blobs: dict[str, bytes] = {}
        self.assignment: pb.Assignment | None = None
        self.committed_generation = 0
        self.benchmarks: dict[str, pb.BenchmarkRequest] = {}
        self.quota = pb.SampleQuota()
        self.chunk_bytes = chunk_bytes
        self.sync_after_s = sync_after_s
        # What reached this side.
        self.syncs: list[pb.SyncRequest] = []
        self.device_ids: set[str] = set()
        self.reports: list[pb.ActionReport] = []
        self.benchmark_reports: list[pb.BenchmarkReport] = []
        self.telemetry: dict[int, pb.TelemetryRecord] = {}
        self.telemetry_cursor: dict[str, int] = {}
        self.samples: dict[int, pb.Sample] = {}
        self.served_bytes = 0
        self.blob_requests: list[pb.GetBlobsRequest] = []
        self.address = ""
        self._server: grpc.aio.Server | None = None
        self._changed = asyncio.Condition()
        self._bells: set[asyncio.Queue[pb.Doorbell]] = set()

    # What a test does.

    async def start(self, port: int = 0) -> None:
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        fleet_pb2_grpc.add_FleetServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    def publish(self, model: BuiltModel) -> ModelRef:
        self.blobs |= model.files
        return model.ref

    def assign(
        self, ref: ModelRef, generation: int, *, action_id: str = "", probation: pb.Probation | None = None
    ) -> None:
        """Say what the device shall run, and ring."""
        self.assignment = pb.Assignment(
            generation=generation,
            action_id=action_id or f"action-{generation}",
            model_name="digits",
            model=model_pb2.BlobRef(sha256=bytes.fromhex(ref.digest), size_bytes=ref.size_bytes),
            probation=probation,
        )
        self.ring()

    def ask_for_benchmark(self, benchmark_id: str, ref: ModelRef, *, warmup: int = 2, runs: int = 20) -> None:
        blob = model_pb2.BlobRef(sha256=bytes.fromhex(ref.digest), size_bytes=ref.size_bytes)
        self.benchmarks[benchmark_id] = pb.BenchmarkRequest(id=benchmark_id, model=blob, warmup=warmup, runs=runs)
        self.ring()

    def commit(self, generation: int) -> None:
        """Judge the probation passed, and ring."""
        self.committed_generation = generation
        self.ring()

    def ring(self) -> None:
        for bell in self._bells:
            bell.put_nowait(pb.Doorbell(sync_now=1))

    async def until(self, holds: Callable[[], Any], *, deadline_s: float = DEADLINE_S) -> Any:
        """Wait until something that reached this side makes `holds` true; returns what it returned."""
        ends_at = time.monotonic() + deadline_s
        async with self._changed:
            while not (result := holds()):
                remaining = ends_at - time.monotonic()
                assert remaining > 0, f"not within {deadline_s} s; reports so far: {self.states()}"
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(remaining, 0.5)):
                        await self._changed.wait()
        return result

    def states(self, generation: int | None = None) -> list[str]:
        """The reported states in order, of one generation or of all."""
        return [
            pb.ActionState.Name(report.state)
            for report in self.reports
            if generation is None or report.generation == generation
        ]

    async def until_state(self, state: str, generation: int) -> pb.ActionReport:
        await self.until(lambda: state in self.states(generation))
        return [r for r in self.reports if r.generation == generation and pb.ActionState.Name(r.state) == state][-1]

    @property
    def windows(self) -> list[pb.Window]:
        return [record.window for _, record in sorted(self.telemetry.items()) if record.HasField("window")]

    # What the agent calls.

    async def Sync(self, request: pb.SyncRequest, context: Any) -> pb.SyncResponse:  # noqa: N802
        await self._enter(context)
        self.syncs.append(request)
        await self._notify()
        return pb.SyncResponse(
            assignment=self.assignment,
            committed_generation=self.committed_generation,
            benchmarks=list(self.benchmarks.values()),
            sample_quota=self.quota,
            sync_after_s=self.sync_after_s,
        )

    async def Watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.Doorbell]:  # noqa: N802
        await self._enter(context)
        bell: asyncio.Queue[pb.Doorbell] = asyncio.Queue()
        self._bells.add(bell)
        try:
            yield pb.Doorbell(hello=pb.Hello(session_epoch=1))
            for _ in range(self.lies.rings_without_reason):
                yield pb.Doorbell(sync_now=0)
            while True:
                yield await bell.get()
        finally:
            self._bells.discard(bell)

    async def Report(self, request: pb.ReportRequest, context: Any) -> pb.ReportResponse:  # noqa: N802
        await self._enter(context)
        if self.lies.refuses_reports:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the simulator refuses reports")
        if request.HasField("action"):
            known = {(report.action_id, report.seq) for report in self.reports}
            if (request.action.action_id, request.action.seq) not in known:
                self.reports.append(request.action)
        else:
            self.benchmark_reports.append(request.benchmark)
            self.benchmarks.pop(request.benchmark.id, None)
        await self._notify()
        if self.lies.loses_report_answers:
            self.lies.loses_report_answers -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was lost")
        return pb.ReportResponse()

    async def PushTelemetry(self, request: pb.PushTelemetryRequest, context: Any) -> pb.PushTelemetryResponse:  # noqa: N802
        """Takes records that follow its cursor; answers the cursor."""
        await self._enter(context)
        cursor = self.telemetry_cursor.get(request.spool_id, 1)
        if self.lies.forgets_cursor_to is not None:
            cursor, self.lies.forgets_cursor_to = self.lies.forgets_cursor_to, None
            self.telemetry = {seq: record for seq, record in self.telemetry.items() if seq < cursor}
        for record in request.records:
            first = record.dropped.first_seq if record.HasField("dropped") else record.seq
            if first <= cursor <= record.seq:
                assert record.seq not in self.telemetry, "counted twice"
                self.telemetry[record.seq] = record
                cursor = record.seq + 1
        self.telemetry_cursor[request.spool_id] = cursor
        await self._notify()
        if self.lies.loses_telemetry_answers:
            self.lies.loses_telemetry_answers -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was lost")
        return pb.PushTelemetryResponse(next_seq=cursor)

    async def PushSamples(self, request: pb.PushSamplesRequest, context: Any) -> pb.PushSamplesResponse:  # noqa: N802
        await self._enter(context)
        for sample in request.samples:
            self.samples[sample.seq] = sample
        self.quota.remaining -= len(request.samples)
        await self._notify()
        return pb.PushSamplesResponse(next_seq=max(self.samples, default=0) + 1, quota_remaining=self.quota.remaining)

    async def GetBlobs(self, request: pb.GetBlobsRequest, context: Any) -> AsyncIterator[pb.BlobChunk]:  # noqa: N802
        await self._enter(context)
        if not request.ranges:
            return
        self.blob_requests.append(request)
        budget = self.lies.cut_after_bytes.pop(0) if self.lies.cut_after_bytes else None
        for wanted in request.ranges:
            data = self._blob(wanted.sha256.hex())
            if data is None:
                await context.abort(grpc.StatusCode.NOT_FOUND, f"no blob {wanted.sha256.hex()}")
                return
            for offset in range(wanted.offset, len(data), self.chunk_bytes):
                part = data[offset : offset + self.chunk_bytes]
                if budget is not None and len(part) >= budget:
                    part = part[:budget]
                    yield self._chunk(wanted.sha256, offset, data, part)
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the stream was cut")
                budget = budget - len(part) if budget is not None else None
                for _ in range(2 if self.lies.repeats_chunks else 1):
                    yield self._chunk(wanted.sha256, offset, data, part)
                await asyncio.sleep(self.lies.chunk_delay_s)

    def _chunk(self, sha256: bytes, offset: int, data: bytes, part: bytes) -> pb.BlobChunk:
        self.served_bytes += len(part)
        return pb.BlobChunk(sha256=sha256, offset=offset, size_bytes=len(data), data=part)

    def _blob(self, digest: str) -> bytes | None:
        data = self.blobs.get(digest)
        if data is not None and self.lies.wrong_bytes.get(digest, 0) > 0:
            self.lies.wrong_bytes[digest] -= 1
            return data[:-1] + bytes([data[-1] ^ 1])
        return data

    async def _enter(self, context: Any) -> None:
        metadata = dict(context.invocation_metadata() or ())
        self.device_ids.add(str(metadata.get("espalier-device-id")))
        if self.lies.is_unavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the simulator is unavailable")

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
