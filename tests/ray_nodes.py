"""Ray nodes as an operator would start them, each with a home and a temp folder of its own, all on this machine."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.jobs.processes import ProcessIdentity, session_members, wait_until_gone
from orchestrator.jobs.ray_environment import base_environment

START_DEADLINE_S = 120.0


@dataclass(frozen=True)
class TwoNodes:
    jobs_api: str  # http://HOST:PORT
    homes: tuple[Path, Path]
    environment: dict[str, str]  # for whoever talks to the cluster


@contextmanager
def two_nodes(folder: Path) -> Iterator[TwoNodes]:
    """A head and a worker node with one CPU each, the Jobs API served by the head; a token is asked for.

    Each has a loopback address of its own: Ray would turn 127.0.0.1 into the machine's outward one.
    """
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    port, dashboard_port, client_port = free_ports(3)
    homes = (folder / "home-head", folder / "home-worker")
    environment = base_environment() | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "DASHBOARD_METRIC_PORT": "0",
    }
    with ExitStack() as stack:
        head = ["--head", "--no-monitor", "--port", str(port), "--include-dashboard=true"]
        head += ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard_port)]
        head += ["--ray-client-server-port", str(client_port)]
        stack.enter_context(node(homes[0], "127.0.0.2", environment, head))
        stack.enter_context(node(homes[1], "127.0.0.3", environment, ["--address", f"127.0.0.2:{port}"]))
        yield TwoNodes(f"http://127.0.0.1:{dashboard_port}", homes, environment)


@contextmanager
def node(home: Path, address: str, environment: dict[str, str], arguments: list[str]) -> Iterator[None]:
    home.mkdir()
    temp_dir = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a socket's path may have 103 characters
    log_path = home / "ray.log"
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *arguments]
    command += ["--node-ip-address", address, "--num-cpus", "1", "--object-store-memory", str(80 << 20)]
    command += ["--temp-dir", temp_dir, "--dashboard-agent-listen-port", "0", "--disable-usage-stats"]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            # As on a node whose environment is activated: a job's entry point is whatever `python` is on its PATH.
            env=environment
            | {"HOME": str(home), "TMPDIR": temp_dir, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=home,
        )
    leader = ProcessIdentity.of(process.pid)
    assert leader is not None
    try:
        deadline = time.monotonic() + START_DEADLINE_S
        while "Ray runtime started." not in log_path.read_text(errors="replace"):
            assert process.poll() is None, log_path.read_text(errors="replace")
            assert time.monotonic() < deadline, log_path.read_text(errors="replace")
            time.sleep(0.05)
        yield
    finally:
        members = session_members(leader, (temp_dir,))
        leader.signal(signal.SIGTERM)
        if not wait_until_gone(members, 3.0):
            for member in members:
                member.signal(signal.SIGKILL)
        process.wait(10.0)
        shutil.rmtree(temp_dir, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports
