"""The control plane as a process: `python -m orchestrator.main serve`. Puts the parts together, takes them apart."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from aiohttp import web

from orchestrator.client import Client
from orchestrator.config import OrchestratorConfig, is_loopback, load_config, split_address
from orchestrator.controllers import ControllersConfig, start_controllers
from orchestrator.dashboard.app import LOOPBACK_NAMES, create_app
from orchestrator.data_dir import DataDir
from orchestrator.errors import ConfigError, OrchestratorError, ServerError
from orchestrator.logs import configure_logging
from orchestrator.services.fleet import FleetTimes
from orchestrator.services.server import ControlServers, ServerSettings
from orchestrator.store import BlobStore, Database
from orchestrator.telemetry.prometheus import Metrics
from orchestrator.telemetry.retention import run_retention

logger = logging.getLogger(__name__)


class ControlPlane:
    """One running control plane; `async with` starts it and stops it in the reverse order."""

    def __init__(self, config: OrchestratorConfig) -> None:
        self.config = config
        self.endpoints: dict[str, str] = {}
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._metrics = Metrics()

    async def __aenter__(self) -> ControlPlane:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def watch_over(self) -> None:
        """Return when a part has failed that never ends by itself.

        Raises:
            ServerError: always.
        """
        done, _ = await asyncio.wait(self._all_tasks, return_when=asyncio.FIRST_COMPLETED)
        task = done.pop()
        reason = "cancelled" if task.cancelled() else repr(task.exception())
        raise ServerError(f"{task.get_name()} has ended: {reason}")

    async def _start(self) -> None:
        server = self.config.server
        data_dir = DataDir.open(server.data_dir)
        self._stack.callback(data_dir.close)
        self._database = await Database.open(server.data_dir / "control.db")
        self._stack.push_async_callback(self._database.close)
        blobs = BlobStore(server.data_dir / "blobs")
        self._stack.push_async_callback(self._end_tasks)
        agents_port, operators_port = await self._serve(blobs)
        self.endpoints = {
            "agents": _with_port(server.agents, agents_port),
            "operators": _with_port(server.operators, operators_port),
        }
        # The page first, so that it is gone before the servers that it reads from.
        self.endpoints["http"] = await self._serve_http(f"127.0.0.1:{operators_port}")
        self._tasks += start_controllers(
            self._database,
            blobs,
            ControllersConfig(
                data_dir=server.data_dir,
                operator_address=_reachable(self.config, operators_port),
                ray_address=self.config.jobs.ray_address,
                max_drivers=self.config.jobs.max_drivers,
            ),
        )
        self._run("retention", run_retention(self._database, self.config.retention))
        self._run("metrics", self._metrics.run(self._database, lambda: len(self._servers.doorbells)))
        data_dir.write_endpoints(**self.endpoints)
        logger.info("serving agents at %(agents)s, operators at %(operators)s, http at %(http)s", self.endpoints)

    async def _serve(self, blobs: BlobStore) -> tuple[int, int]:
        fleet = self.config.fleet
        self._servers = ControlServers(
            self._database,
            blobs,
            observe=self._metrics.observe,
            times=FleetTimes(
                min_sync_s=fleet.min_sync_s, max_syncs_per_s=fleet.max_syncs_per_s, heartbeat_s=fleet.heartbeat_s
            ),
            settings=ServerSettings(expected_agents=fleet.expected_agents),
            offline_after_s=fleet.offline_after_s,
            samples_retention_s=self.config.retention.samples_s,
        )
        self._stack.push_async_callback(self._servers.stop, self.config.server.stop_grace_s)
        return await self._servers.start(self.config.server.agents, self.config.server.operators)

    async def _serve_http(self, operators_address: str) -> str:
        address = self.config.server.http
        host, port = split_address(address, "server.http")
        client = Client(operators_address)
        self._stack.push_async_callback(client.close)
        app = create_app(
            client,
            render_metrics=self._metrics.render,
            check_health=self._check_health,
            allowed_hosts=LOOPBACK_NAMES if is_loopback(host) else (),
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ConfigError(f"cannot listen on {address}: {error.strerror}") from error
        return _with_port(address, runner.addresses[0][1])

    async def _check_health(self) -> str:
        """What is wrong, or nothing."""
        dead = [task.get_name() for task in self._all_tasks if task.done()]
        if dead:
            return f"{', '.join(dead)} has ended"
        try:
            await asyncio.wait_for(self._database.write(lambda session: None), 5.0)
        except (TimeoutError, OrchestratorError) as error:
            return f"the database does not answer: {error}"
        return ""

    @property
    def _all_tasks(self) -> list[asyncio.Task[None]]:
        return [*self._tasks, *self._servers.tasks]

    def _run(self, name: str, work: Any) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def serve(config: OrchestratorConfig) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        ConfigError: it cannot start this way.
        ServerError: a part of it has failed.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with ControlPlane(config) as plane:
        watching = asyncio.create_task(plane.watch_over())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([watching, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if watching.done():
            await watching
        watching.cancel()
        logger.info("stopping")


def _with_port(address: str, port: int) -> str:
    return f"{address.rpartition(':')[0]}:{port}"


def _reachable(config: OrchestratorConfig, port: int) -> str:
    """By what address a job's driver, here or on the cluster, calls the operators' port."""
    host, _ = split_address(config.server.operators, "server.operators")
    if config.server.advertise:
        host = config.server.advertise
    elif host in ("0.0.0.0", "::"):  # compared with, not bound
        host = socket.gethostname() if config.jobs.ray_address else "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m orchestrator.main", description="The Espalier control plane.")
    command = parser.add_subparsers(dest="command", required=True).add_parser("serve", help="run until SIGTERM")
    command.add_argument("--config", type=Path, help="TOML file; see docs/configuration.md")
    command.add_argument("--data-dir", dest="server.data_dir", help="where everything is kept")
    command.add_argument("--agents", "--agent-listen", dest="server.agents", help="HOST:PORT where agents call")
    command.add_argument("--operators", "--operator-listen", dest="server.operators", help="HOST:PORT for operators")
    command.add_argument("--http", "--http-listen", dest="server.http", help="HOST:PORT of web page and metrics")
    command.add_argument("--advertise", dest="server.advertise", help="host by which job drivers reach this one")
    command.add_argument("--insecure", dest="server.insecure", action="store_true", default=None, help="allow others")
    command.add_argument("--ray-address", dest="jobs.ray_address", help="of a Ray cluster to run jobs on")
    command.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="SECTION.KEY=VALUE", help="any other setting"
    )
    command.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    return parser.parse_args(arguments)


def _flags(options: argparse.Namespace) -> dict[str, Any]:
    flags = {path: value for path, value in vars(options).items() if "." in path and value is not None}
    for setting in options.settings:
        path, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set takes SECTION.KEY=VALUE, not {setting!r}")
        flags[path] = value
    return flags


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    configure_logging(options.log_level)
    try:
        config = load_config(options.config, os.environ, _flags(options))
        asyncio.run(serve(config))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OrchestratorError as error:
        logger.error("ended: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
