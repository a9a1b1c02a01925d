"""`espalier up`: control plane, Ray and web page on this machine, in one go, in the foreground.

Each is a process of its own, so that this command needs none of what they need. Ctrl-C ends all of them in order; what
was left behind by a crash is found again, or ended, by the next `up` on the same data directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.exit_codes import ExitCode
from orchestrator.cli.output import Row
from orchestrator.cli.session import CommandError, Session, command

NEEDED = ("aiohttp", "alembic", "fsspec", "ray", "sqlalchemy", "torch")
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
POLL_S = 0.1


def add_up(root: click.Group) -> None:
    @command(root, "up", is_local=True)
    @click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("espalier-data"),
        show_default=True,
        help="Where everything is kept.",
    )
    @click.option("--agents", default="127.0.0.1:7443", show_default=True, help="Where agents call.")
    @click.option("--operators", default="127.0.0.1:7444", show_default=True, help="Where this command line calls.")
    @click.option("--http", default="127.0.0.1:7445", show_default=True, help="Web page and metrics.")
    @click.option("--ray-address", default="", help="Run jobs on this Ray cluster instead of starting Ray here.")
    @click.option("--insecure", is_flag=True, help="Allow addresses other than loopback, without identities.")
    @click.option("--config", type=click.Path(exists=True, dir_okay=False), help="TOML file of the control plane.")
    @click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Any other setting.")
    async def up(session: Session, data_dir: Path, ray_address: str, **options: Any) -> None:
        """Run everything on this machine until Ctrl-C: control plane, Ray, web page."""
        require_orchestrator()
        stop = _stop_event()
        server = await _start("orchestrator.main", "serve", *_server_arguments(data_dir, ray_address, **options))
        try:
            endpoints = await _endpoints(server, data_dir, stop)  # from here on the data directory is ours
            async with contextlib.nullcontext() if ray_address else _ray(data_dir):
                _say_where(session, endpoints)
                await _first(server.wait(), stop.wait())
                await _end(server)
        finally:
            await _end(server)
        if not stop.is_set():
            raise CommandError(f"the control plane ended with code {server.returncode}", ExitCode.FAILURE)


def require_orchestrator() -> None:
    """Raise `CommandError` that names the extra where a package of it is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise CommandError(
            f"`espalier up` needs {', '.join(missing)}, which a light install leaves out.\n"
            "Install the extra: pip install 'espalier-edge[orchestrator]'",
            ExitCode.ENVIRONMENT,
        )


def _server_arguments(
    data_dir: Path,
    ray_address: str,
    *,
    agents: str,
    operators: str,
    http: str,
    insecure: bool,
    config: str | None,
    settings: tuple[str, ...],
) -> list[str]:
    arguments = ["--data-dir", str(data_dir), "--agents", agents, "--operators", operators, "--http", http]
    arguments += ["--ray-address", ray_address] if ray_address else []
    arguments += ["--insecure"] if insecure else []
    arguments += ["--config", config] if config else []
    return [*arguments, *(word for setting in settings for word in ("--set", setting))]


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


@asynccontextmanager
async def _ray(data_dir: Path) -> AsyncIterator[None]:
    """The embedded Ray cluster: begun before a job needs it, so that the first job finds it warm."""
    starting = await _start("orchestrator.jobs.cluster", "start", "--data-dir", str(data_dir), is_quiet=True)
    try:
        yield
    finally:
        await _end(starting)
        await (await _start("orchestrator.jobs.cluster", "stop", "--data-dir", str(data_dir), is_quiet=True)).wait()


async def _start(module: str, *arguments: str, is_quiet: bool = False) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL if is_quiet else None,
        start_new_session=True,  # Ctrl-C is ours to pass on, in order
    )


async def _endpoints(server: asyncio.subprocess.Process, data_dir: Path, stop: asyncio.Event) -> Row:
    """Where the control plane listens, which it says once everything does."""
    deadline = asyncio.get_running_loop().time() + READY_TIMEOUT_S
    while True:
        with contextlib.suppress(OSError, ValueError):
            endpoints: Row = json.loads((data_dir / "endpoints.json").read_text(encoding="utf-8"))
            if endpoints["pid"] == server.pid:
                return endpoints
        if server.returncode is not None:
            raise CommandError(f"the control plane did not start (code {server.returncode})", ExitCode.FAILURE)
        if stop.is_set() or asyncio.get_running_loop().time() > deadline:
            raise CommandError("the control plane was not ready in time", ExitCode.TIMEOUT)
        await _first(server.wait(), stop.wait(), timeout_s=POLL_S)


def _say_where(session: Session, endpoints: Row) -> None:
    if session.output.is_json:
        session.output.line(endpoints)
        return
    where = f"web page http://{endpoints['http']}/, operators {endpoints['operators']}, agents {endpoints['agents']}"
    session.output.said(f"ready: {where}")
    session.output.said("Submit a job with `espalier submit`; stop everything with Ctrl-C.")


async def _first(*waits: Coroutine[Any, Any, Any], timeout_s: float | None = None) -> None:
    tasks = [asyncio.create_task(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=timeout_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask, wait, insist."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
