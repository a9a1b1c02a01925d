"""The two gRPC servers, agents' and operators', with the settings that keep them up under load and under attack."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.internal import api_implementation
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from orchestrator.errors import ConfigError
from orchestrator.services.blobs import BlobsService
from orchestrator.services.decisions import DecisionsService, PoliciesService
from orchestrator.services.devices import DevicesService
from orchestrator.services.doorbells import Doorbells
from orchestrator.services.drivers import DriversService
from orchestrator.services.fleet import FleetService, FleetTimes
from orchestrator.services.interceptors import BoundaryInterceptor, Observe
from orchestrator.services.jobs import JobsService
from orchestrator.services.liveness import Liveness
from orchestrator.services.models import ModelsService
from orchestrator.services.rollouts import RolloutsService
from orchestrator.services.telemetry import TelemetryService
from orchestrator.store import BlobStore, Database
from protos import fleet_pb2_grpc, operator_pb2_grpc

logger = logging.getLogger(__name__)

AGENT_MESSAGE_BYTES = 1 << 20
"""Of what comes in from agents; larger data travels in chunks."""
OPERATOR_MESSAGE_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Settings of both servers; the reasons are beside the options they end up in."""

    expected_agents: int = 5000
    max_concurrent_streams: int = 100
    handshake_timeout_s: float = 5.0
    max_connection_age_s: float = 3600.0
    max_connection_age_grace_s: float = 60.0
    keepalive_time_s: float = 120.0
    keepalive_timeout_s: float = 20.0
    min_ping_interval_s: float = 20.0


def server_options(settings: ServerSettings, message_bytes: int) -> list[tuple[str, int]]:
    pending = 2 * settings.expected_agents
    return [
        # At its default a burst of reconnecting agents loses a tenth of its calls or more.
        ("grpc.server.max_pending_requests", pending),
        ("grpc.server.max_pending_requests_hard_limit", 2 * pending),
        ("grpc.max_concurrent_streams", settings.max_concurrent_streams),  # bounds rapid reset
        ("grpc.max_receive_message_length", message_bytes),
        ("grpc.server_handshake_timeout_ms", int(settings.handshake_timeout_s * 1000)),  # slowloris
        ("grpc.max_connection_age_ms", int(settings.max_connection_age_s * 1000)),  # rebalances, ends old identities
        ("grpc.max_connection_age_grace_ms", int(settings.max_connection_age_grace_s * 1000)),
        ("grpc.keepalive_time_ms", int(settings.keepalive_time_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(settings.keepalive_timeout_s * 1000)),
        # Agents ping every 60 s through their NATs; the name has no RECV in it, unlike the macro, and a wrong one is
        # ignored in silence: the stream would then die of too many pings.
        ("grpc.http2.min_ping_interval_without_data_ms", int(settings.min_ping_interval_s * 1000)),
        ("grpc.so_reuseport", 0),  # one process owns the database; a second one must fail to bind
    ]


class ControlServers:
    """Both servers and what they share. `start`, then `stop` once."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        *,
        observe: Observe,
        times: FleetTimes | None = None,
        settings: ServerSettings | None = None,
        offline_after_s: float = 60.0,
        liveness_flush_s: float = 2.0,
        samples_retention_s: float = 604_800.0,
    ) -> None:
        if api_implementation.Type() != "upb":
            raise ConfigError("protobuf runs in pure Python, whose parser can be made to recurse without end: use upb")
        self.doorbells = Doorbells(database)
        self.liveness = Liveness(database, offline_after_s=offline_after_s, flush_interval_s=liveness_flush_s)
        self._healths: list[tuple[health.aio.HealthServicer, str]] = []
        self._tasks: list[asyncio.Task[None]] = []
        settings = settings or ServerSettings()
        boundary = BoundaryInterceptor(observe, needs_device=True)
        options = server_options(settings, AGENT_MESSAGE_BYTES)
        self._agents = self._server(options, boundary, "espalier.fleet.v1.Fleet")
        fleet = FleetService(database, blobs, self.liveness, self.doorbells, times or FleetTimes())
        add: Any = fleet_pb2_grpc  # generated code is not typed
        add.add_FleetServicer_to_server(fleet, self._agents)
        boundary = BoundaryInterceptor(observe, needs_device=False)
        options = server_options(settings, OPERATOR_MESSAGE_BYTES)
        self._operators = self._server(options, boundary, "espalier.operator.v1.Jobs")
        add = operator_pb2_grpc
        add.add_JobsServicer_to_server(JobsService(database, blobs), self._operators)
        add.add_ModelsServicer_to_server(ModelsService(database), self._operators)
        devices = DevicesService(database, samples_retention_s=samples_retention_s)
        add.add_DevicesServicer_to_server(devices, self._operators)
        add.add_RolloutsServicer_to_server(RolloutsService(database), self._operators)
        add.add_PoliciesServicer_to_server(PoliciesService(database), self._operators)
        add.add_DecisionsServicer_to_server(DecisionsService(database), self._operators)
        add.add_TelemetryServicer_to_server(TelemetryService(database), self._operators)
        add.add_BlobsServicer_to_server(BlobsService(blobs), self._operators)
        add.add_DriversServicer_to_server(DriversService(database, blobs), self._operators)

    async def start(self, agents_address: str, operators_address: str) -> tuple[int, int]:
        """Bind and serve; the ports, which the system chose where an address ends in `:0`.

        Raises:
            ConfigError: an address cannot be bound.
        """
        ports = _bind(self._agents, agents_address), _bind(self._operators, operators_address)
        self._tasks = [
            asyncio.create_task(self.doorbells.run(), name="doorbells"),
            asyncio.create_task(self.liveness.run(), name="liveness"),
        ]
        await self._agents.start()
        await self._operators.start()
        for servicer, service in self._healths:
            for name in ("", service):
                await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
        return ports

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What runs in the background; none of it ends by itself."""
        return self._tasks

    async def stop(self, grace_s: float) -> None:
        """Say that nothing is served any more, say goodbye to agents, let calls end, write what is left."""
        for servicer, _ in self._healths:
            await servicer.enter_graceful_shutdown()
        self.doorbells.close()
        await asyncio.gather(self._agents.stop(grace_s), self._operators.stop(grace_s))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.liveness.flush(touch=True)

    def _server(self, options: list[tuple[str, int]], boundary: BoundaryInterceptor, service: str) -> grpc.aio.Server:
        server = grpc.aio.server(interceptors=[boundary], options=options)
        servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        self._healths.append((servicer, service))
        return server


def _bind(server: grpc.aio.Server, address: str) -> int:
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise ConfigError(f"cannot listen on {address}: is something else using the port? ({error})") from error
    if port == 0:
        raise ConfigError(f"cannot listen on {address}: is something else using the port?")
    return int(port)
