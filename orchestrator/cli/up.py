"""`espalier up`: control plane, Ray and web page on this machine, in one go, in the foreground.

Each is a process of its own, so that this command needs none of what they need. Ctrl-C ends all of them in order; what
was left behind by a crash is found again, or ended, by the next `up` on the same data directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import sys
from pathlib import Path

import click

from orchestrator.cli.exit_codes import ExitCode
from orchestrator.cli.session import CommandError, Session, command
from orchestrator.errors import OrchestratorError

NEEDED = ("aiohttp", "alembic", "fsspec", "ray", "sqlalchemy", "torch")
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
POLL_S = 0.2


def add_up(root: click.Group) -> None:
    @command(root, "up")
    @click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("espalier-data"),
        show_default=True,
        help="Where everything is kept.",
    )
    @click.option("--ray-address", default="", help="Use this Ray cluster instead of starting one here.")
    @click.option("--agent-listen", default="127.0.0.1:7443", show_default=True, help="Where agents call.")
    @click.option("--operator-listen", default="127.0.0.1:7444", show_default=True, help="Where this command calls.")
    @click.option("--http-listen", default="127.0.0.1:7445", show_default=True, help="Web page and metrics.")
    @click.option("--insecure", is_flag=True, help="Allow addresses other than loopback, without identities.")
    async def up(
        session: Session,
        data_dir: Path,
        ray_address: str,
        agent_listen: str,
        operator_listen: str,
        http_listen: str,
        insecure: bool,
    ) -> None:
        """Run everything on this machine until Ctrl-C: control plane, Ray, web page."""
        require_orchestrator()
        arguments = ["--data-dir", str(data_dir), "--agent-listen", agent_listen, "--operator-listen", operator_listen]
        arguments += ["--http-listen", http_listen]
        arguments += ["--ray-address", ray_address] if ray_address else []
        arguments += ["--insecure"] if insecure else []
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        server = await asyncio.create_subprocess_exec(sys.executable, "-m", "orchestrator.main", "serve", *arguments)
        ray = None if ray_address else await _ray("start", data_dir)
        try:
            await _until_ready(session, server, stop)
            _say_where(session, operator_listen, agent_listen, http_listen)
            await _first(server.wait(), stop.wait())
        finally:
            await _end(server)
            if ray is not None:
                await _end(ray)
                await (await _ray("stop", data_dir)).wait()
        if not stop.is_set():
            raise CommandError(f"the control plane ended by itself with code {server.returncode}", ExitCode.FAILURE)


def require_orchestrator() -> None:
    """Raise `CommandError` that names the extra where a package of it is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise CommandError(
            f"`espalier up` needs {', '.join(missing)}, which a light install leaves out.\n"
            "Install the extra: pip install 'espalier-edge[orchestrator]'",
            ExitCode.ENVIRONMENT,
        )


async def _ray(action: str, data_dir: Path) -> asyncio.subprocess.Process:
    """Start or stop the embedded Ray cluster; started early, so that the first job finds it warm."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator.jobs.cluster", action, "--data-dir", str(data_dir)),
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is ours to pass on
    )


async def _until_ready(session: Session, server: asyncio.subprocess.Process, stop: asyncio.Event) -> None:
    deadline = asyncio.get_running_loop().time() + READY_TIMEOUT_S
    while not stop.is_set():
        if server.returncode is not None:
            raise CommandError(f"the control plane did not start (code {server.returncode})", ExitCode.FAILURE)
        with contextlib.suppress(OrchestratorError):
            await session.client.jobs.list(limit=1)
            return
        if asyncio.get_running_loop().time() > deadline:
            raise CommandError(f"the control plane was not ready within {READY_TIMEOUT_S:.0f} s", ExitCode.TIMEOUT)
        await _first(server.wait(), stop.wait(), timeout_s=POLL_S)


def _say_where(session: Session, operators: str, agents: str, http: str) -> None:
    if session.output.is_json:
        session.output.line({"operators": operators, "agents": agents, "http": http, "pid": os.getpid()})
        return
    session.output.said(f"ready. Web page: http://{http}/   operators: {operators}   agents: {agents}")
    session.output.said("Submit a job with `espalier submit`; stop everything with Ctrl-C.")


async def _first(*waits: object, timeout_s: float | None = None) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]  # type: ignore[call-overload]
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
