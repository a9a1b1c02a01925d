"""A real control plane on ports of the system's choice, for tests: servers in this process, or a process of its own."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio

from orchestrator.client import Client
from orchestrator.metadata import DEVICE_ID_KEY
from orchestrator.services.fleet import FleetTimes
from orchestrator.services.server import ControlServers
from orchestrator.store import BlobStore, Database
from protos import fleet_pb2, fleet_pb2_grpc

FAST_TIMES = FleetTimes(min_sync_s=0.2, heartbeat_s=0.2, goodbye_retry_s=0.01)
DEADLINE_S = 10.0


@dataclass
class RunningControlPlane:
    database: Database
    blobs: BlobStore
    servers: ControlServers
    agents_address: str
    operators_address: str
    client: Client

    def agent(self, device_id: str) -> Agent:
        return Agent(self.agents_address, device_id)


class Agent:
    """The bare calls of an agent, without any of its wits."""

    def __init__(self, address: str, device_id: str | None) -> None:
        self.channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._stub: Any = fleet_pb2_grpc.FleetStub(self.channel)
        self._metadata = () if device_id is None else ((DEVICE_ID_KEY, device_id),)

    async def __aenter__(self) -> Agent:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()

    async def sync(self, **changes: Any) -> fleet_pb2.SyncResponse:
        return await self.call("Sync", sync_request(**changes))

    async def report(self, **action: Any) -> None:
        await self.call("Report", fleet_pb2.ReportRequest(action=fleet_pb2.ActionReport(**action)))

    async def push(self, records: list[fleet_pb2.TelemetryRecord], spool_id: str = "spool") -> int:
        request = fleet_pb2.PushTelemetryRequest(spool_id=spool_id, records=records)
        return (await self.call("PushTelemetry", request)).next_seq

    async def push_samples(self, samples: list[fleet_pb2.Sample]) -> fleet_pb2.PushSamplesResponse:
        return await self.call("PushSamples", fleet_pb2.PushSamplesRequest(spool_id="samples", samples=samples))

    async def call(self, method: str, request: Any, deadline_s: float | None = DEADLINE_S) -> Any:
        return await getattr(self._stub, method)(request, timeout=deadline_s, metadata=self._metadata)

    def watch(self) -> Any:
        return self._stub.Watch(fleet_pb2.WatchRequest(boot_id="boot"), metadata=self._metadata)

    async def get_blobs(self, ranges: list[tuple[str, int]]) -> list[fleet_pb2.BlobChunk]:
        request = fleet_pb2.GetBlobsRequest(
            ranges=[fleet_pb2.BlobRange(sha256=bytes.fromhex(digest), offset=offset) for digest, offset in ranges]
        )
        return [chunk async for chunk in self._stub.GetBlobs(request, timeout=DEADLINE_S, metadata=self._metadata)]


def sync_request(**changes: Any) -> fleet_pb2.SyncRequest:
    facts = changes.pop("facts", None) or fleet_pb2.DeviceFacts(device_class=changes.pop("device_class", "gateway"))
    return fleet_pb2.SyncRequest(protocol_version=1, boot_id="boot", facts=facts, **changes)


def digest_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def window(model: str = "model", *, end_ms: int | None = None, **counts: Any) -> fleet_pb2.Window:
    end_ms = time.time_ns() // 1_000_000 if end_ms is None else end_ms
    return fleet_pb2.Window(
        model_sha256=digest_of(model),
        start_ms=max(0, end_ms - 1000),
        end_ms=end_ms,
        requests=counts.pop("requests", 1),
        **counts,
    )


def records(first_seq: int, count: int, **counts: Any) -> list[fleet_pb2.TelemetryRecord]:
    return [fleet_pb2.TelemetryRecord(seq=first_seq + i, window=window(**counts)) for i in range(count)]


@asynccontextmanager
async def control_plane(data_dir: Path, **options: Any) -> AsyncIterator[RunningControlPlane]:
    """Database, blobs and both servers, in this process."""
    database = await Database.open(data_dir / "control.db")
    blobs = BlobStore(data_dir / "blobs")
    servers = ControlServers(
        database, blobs, observe=lambda *_: None, times=FAST_TIMES, **{"liveness_flush_s": 0.05, **options}
    )
    agents_port, operators_port = await servers.start("127.0.0.1:0", "127.0.0.1:0")
    operators_address = f"127.0.0.1:{operators_port}"
    client = Client(operators_address, patience_s=DEADLINE_S)
    try:
        yield RunningControlPlane(database, blobs, servers, f"127.0.0.1:{agents_port}", operators_address, client)
    finally:
        await client.close()
        await servers.stop(0.2)
        await database.close()


async def until(condition: Callable[[], Awaitable[bool]], deadline_s: float = DEADLINE_S) -> None:
    """Look again and again until it holds."""
    async with asyncio.timeout(deadline_s):
        while not await condition():  # noqa: ASYNC110  # it may be about another process
            await asyncio.sleep(0.01)
