"""Starts the demo's processes and ends every one of them, whatever happens.

Each gets a process group of its own and a log file. Ending asks first and insists later; Ctrl-C reaches only the demo,
which then ends the others in the reverse order of their start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

STOP_TIMEOUT_S = 25.0
TAIL_LINES = 15


class ProcessDiedError(Exception):
    """A process of the demo ended by itself; the message ends with its last words."""


class Processes:
    """What the demo started; `async with` ends it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def __aenter__(self) -> Processes:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        for name in reversed(self._running):
            await self._end(self._running[name])

    async def start(
        self, name: str, command: Sequence[str], *, reads_output: bool = False
    ) -> asyncio.subprocess.Process:
        """Start a process. Its output goes to its log; stdout comes to the caller instead where `reads_output`."""
        with self.log_path(name).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if reads_output else log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        self._running[name] = process
        return process

    def check(self) -> None:
        """Raise `ProcessDiedError` for the first process that has ended."""
        for name, process in self._running.items():
            if process.returncode is not None:
                words = f"{name} ended by itself with code {process.returncode}; its log ends with:"
                raise ProcessDiedError(f"{words}\n{self._tail(name)}")

    def log_path(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _tail(self, name: str) -> str:
        lines = self.log_path(name).read_text(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-TAIL_LINES:])

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # what it may have left behind
        await process.wait()


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()
