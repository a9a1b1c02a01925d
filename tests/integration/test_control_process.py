"""The control plane as a process: it says where it listens, answers on all ports, and ends in good order."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from orchestrator.config import OrchestratorConfig, ServerConfig
from orchestrator.errors import ConfigError, ServerError
from orchestrator.main import ControlPlane, main
from tests.control_plane import Agent

ANY_PORT = "127.0.0.1:0"


def config(data_dir: Path, **changes: str) -> OrchestratorConfig:
    addresses = {"agents": ANY_PORT, "operators": ANY_PORT, "http": ANY_PORT, **changes}
    return OrchestratorConfig(server=ServerConfig(data_dir=data_dir, stop_grace_s=0.2, **addresses))


async def test_everything_answers_and_ends(tmp_path: Path) -> None:
    async with ControlPlane(config(tmp_path)) as plane:
        written = json.loads((tmp_path / "endpoints.json").read_text())
        assert {name: written[name] for name in plane.endpoints} == plane.endpoints
        for name in ("agents", "operators"):
            async with grpc.aio.insecure_channel(plane.endpoints[name]) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                assert (await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)).status == 1
        async with Agent(plane.endpoints["agents"], "cam-1") as agent:
            await agent.sync()
        async with aiohttp.ClientSession(f"http://{plane.endpoints['http']}") as http:
            async with http.get("/healthz") as answer:
                assert (answer.status, await answer.text()) == (200, "ok\n")
            async with http.get("/metrics") as answer:
                assert 'espalier_rpcs_total{code="OK",method="Fleet/Sync"} 1.0' in await answer.text()
            async with http.get("/") as answer:
                assert answer.status == 200
    assert not (tmp_path / "endpoints.json").exists()


async def test_it_starts_again_where_it_stopped(tmp_path: Path) -> None:
    for _ in range(2):
        async with ControlPlane(config(tmp_path)) as plane, Agent(plane.endpoints["agents"], "cam-1") as agent:
            await agent.sync()
            revision = plane._database.revision
    assert revision > 0


async def test_a_taken_port_is_said_and_nothing_stays_behind(tmp_path: Path) -> None:
    async with ControlPlane(config(tmp_path / "one")) as plane:
        for name in ("agents", "operators", "http"):
            with pytest.raises(ConfigError, match="cannot listen"):
                await ControlPlane(config(tmp_path / "two", **{name: plane.endpoints[name]})).__aenter__()
    async with ControlPlane(config(tmp_path / "two")):
        pass


async def test_a_part_that_fails_is_noticed(tmp_path: Path) -> None:
    async with ControlPlane(config(tmp_path)) as plane:
        watching = asyncio.create_task(plane.watch_over())
        plane._tasks[0].cancel()
        with pytest.raises(ServerError, match="has ended"):
            await asyncio.wait_for(watching, 5)
        assert "has ended" in await plane._check_health()


def test_a_wrong_flag_ends_with_code_two_and_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--data-dir", str(tmp_path), "--agents", "0.0.0.0:0"]) == 2
    assert "--insecure" in capsys.readouterr().err
    assert main(["serve", "--set", "fleet"]) == 2
    assert "SECTION.KEY=VALUE" in capsys.readouterr().err
