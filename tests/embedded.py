"""`espalier up` as a process of its own, which a test may kill and start again on the same data and ports."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.demo.processes import free_ports

ROOT = Path(__file__).resolve().parents[1]


def processes_naming(text: str) -> dict[int, str]:
    """Command lines, by pid, of the other processes that have `text` in theirs."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if text in command:
                    found[int(entry.name)] = command
    return found


def left_behind(text: str, *, timeout_s: float = 10.0) -> list[str]:
    """Command lines of processes that name `text`, after a moment to end."""
    deadline = time.monotonic() + timeout_s
    while found := processes_naming(text):
        if time.monotonic() > deadline:
            return list(found.values())
        time.sleep(0.1)
    return []


def poll(condition: Callable[[], Any], *, timeout_s: float, what: str) -> Any:
    """The first true answer of `condition`."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s for {what}"
        time.sleep(0.2)
    return answer


def _free_addresses() -> tuple[str, str, str]:
    agents, operators, http = (f"127.0.0.1:{port}" for port in free_ports(3))
    return agents, operators, http


@dataclass
class Embedded:
    data_dir: Path
    addresses: tuple[str, str, str] = field(default_factory=_free_addresses)
    process: subprocess.Popen[str] | None = None

    @property
    def agents(self) -> str:
        return self.addresses[0]

    @property
    def operators(self) -> str:
        return self.addresses[1]

    @property
    def http(self) -> str:
        return self.addresses[2]

    def command(self) -> list[str]:
        listens = zip(("--agents", "--operators", "--http"), self.addresses, strict=True)
        options = [word for pair in listens for word in pair]
        return [sys.executable, "-m", "orchestrator.cli.main", "up", "--data-dir", str(self.data_dir), *options]

    def start(self) -> None:
        """Start it and wait until it says where it listens."""
        self.process = subprocess.Popen(
            [*self.command(), "--format", "json"],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        with self.process.stdout as said:
            assert json.loads(said.readline())["operators"] == self.operators

    def kill(self) -> None:
        """SIGKILL to `up` and to the control plane under it, as a power cut would; drivers and Ray are left alone."""
        assert self.process is not None
        for pid in processes_naming(f"orchestrator.main serve --data-dir {self.data_dir}"):
            os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait(timeout=10)

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=60)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.interrupt()

    def espalier(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "orchestrator.cli.main", *arguments, "--address", self.operators]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    def listed(self, resource: str) -> list[dict[str, Any]]:
        ran = self.espalier(resource, "list", "--format", "json")
        assert ran.returncode == 0, ran.stderr
        rows: list[dict[str, Any]] = json.loads(ran.stdout)[resource]
        return rows
