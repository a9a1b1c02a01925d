"""The settings that keep the servers up, each seen to work: gRPC ignores a misspelt one in silence."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.protobuf.internal import api_implementation
from grpc_health.v1 import health_pb2, health_pb2_grpc

from orchestrator.errors import ConfigError
from orchestrator.services.server import ServerSettings, server_options
from protos import fleet_pb2
from tests.control_plane import RunningControlPlane, control_plane


def test_protobuf_runs_on_its_safe_backend() -> None:
    assert api_implementation.Type() == "upb"


def test_the_pending_requests_limit_covers_the_fleet_twice() -> None:
    options = dict(server_options(ServerSettings(expected_agents=3000), 1))
    assert options["grpc.server.max_pending_requests"] == 6000
    assert options["grpc.server.max_pending_requests_hard_limit"] == 12000


@pytest.mark.parametrize(("expected_agents", "all_answered"), [(1, False), (400, True)])
async def test_the_pending_requests_limit_is_in_force(tmp_path: Path, expected_agents: int, all_answered: bool) -> None:
    """A burst beyond the limit is shed, one within it is not: so the setting, which is private to gRPC, still works."""
    async with control_plane(tmp_path, settings=ServerSettings(expected_agents=expected_agents)) as plane:
        agents = [plane.agent(f"cam-{number}") for number in range(10)]
        calls = [agent.sync() for agent in agents for _ in range(40)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        for agent in agents:
            await agent.channel.close()
    shed = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert bool(shed) is not all_answered


async def test_a_client_that_pings_often_is_not_told_too_many_pings(tmp_path: Path) -> None:
    """With the wrong name for the setting a watch dies after three pings."""
    settings = ServerSettings(min_ping_interval_s=0.01)
    async with control_plane(tmp_path, settings=settings) as plane:
        options = [
            ("grpc.keepalive_time_ms", 60),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_sent_ping_interval_without_data_ms", 10),
            ("grpc.keepalive_permit_without_calls", 1),
        ]
        async with plane.agent("cam-1") as agent:
            await agent.sync()
            await agent.channel.close()
            agent.channel = grpc.aio.insecure_channel(plane.agents_address, options=options)
            agent._stub = type(agent._stub)(agent.channel)
            watch = agent.watch()
            for _ in range(6):  # hello and five heartbeats: a second, and a dozen pings
                assert await asyncio.wait_for(watch.read(), 5) is not grpc.aio.EOF
            watch.cancel()


async def test_a_message_beyond_the_limit_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane, plane.agent("cam-1") as agent:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await agent.sync(action_id="x" * (1 << 20))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_half_open_connections_are_closed(tmp_path: Path) -> None:
    """A socket that never speaks HTTP/2 is hung up on, and others are served meanwhile."""
    async with control_plane(tmp_path, settings=ServerSettings(handshake_timeout_s=0.3)) as plane:
        host, port = plane.agents_address.split(":")
        sockets = [socket.create_connection((host, int(port))) for _ in range(50)]
        try:
            async with plane.agent("cam-1") as agent:
                await agent.sync()
            loop = asyncio.get_running_loop()
            for silent in sockets:
                silent.setblocking(False)

                async def hung_up(silent: socket.socket = silent) -> None:
                    while await loop.sock_recv(silent, 4096):
                        pass  # the server's own greeting

                await asyncio.wait_for(hung_up(), 5)
        finally:
            for silent in sockets:
                silent.close()


async def test_connections_age_and_a_watch_ends_without_a_fault(tmp_path: Path) -> None:
    settings = ServerSettings(max_connection_age_s=0.4, max_connection_age_grace_s=0.2)
    async with control_plane(tmp_path, settings=settings) as plane, plane.agent("cam-1") as agent:
        await agent.sync()
        watch = agent.watch()

        async def to_its_end() -> None:
            while await watch.read() is not grpc.aio.EOF:
                pass

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(to_its_end(), 10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await agent.sync()


async def test_health_says_serving_and_then_not(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        for address in (plane.agents_address, plane.operators_address):
            async with grpc.aio.insecure_channel(address) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
        async with grpc.aio.insecure_channel(plane.agents_address) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(service="espalier.fleet.v1.Fleet")
            )
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            stopping = asyncio.create_task(plane.servers.stop(1.0))
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            watch.cancel()
            await stopping


async def test_a_port_that_is_taken_is_a_configuration_error(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        other = plane.servers.__class__(plane.database, plane.blobs, observe=lambda *_: None)
        with pytest.raises(ConfigError, match="cannot listen"):
            await other.start(plane.agents_address, "127.0.0.1:0")


async def test_every_call_needs_a_deadline(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane, plane.agent("cam-1") as agent:
        with pytest.raises(grpc.aio.AioRpcError, match="deadline") as caught:
            await agent.call("Sync", fleet_pb2.SyncRequest(protocol_version=1), deadline_s=None)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("device_id", [None, "", " ", "../x", "-x", "x" * 64, "a b"])
async def test_a_call_without_a_proper_identity_is_refused(tmp_path: Path, device_id: str | None) -> None:
    async with control_plane(tmp_path) as plane, plane.agent("cam-1") as proper:
        assert await refusal_of(plane, device_id) is grpc.StatusCode.UNAUTHENTICATED
        await proper.sync()


async def refusal_of(plane: RunningControlPlane, device_id: str | None) -> grpc.StatusCode:
    from tests.control_plane import Agent

    async with Agent(plane.agents_address, device_id) as agent:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await agent.sync()
        return caught.value.code()
