"""The embedded Ray cluster: one head per control plane, on this machine, reachable over loopback only.

`python -m orchestrator.jobs.cluster start|stop|status --data-dir DIR`. The head is a session of its own that outlives
drivers, so that successive jobs find it warm; <data-dir>/ray records it by process id and start time, and nothing is
signalled that does not match. Does not import Ray: it only runs its command line.
"""

from __future__ import annotations

import argparse
import fcntl
import json
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
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.jobs.errors import ClusterStartError
from orchestrator.jobs.processes import ProcessIdentity, session_members, wait_until_gone
from orchestrator.jobs.ray_environment import embedded_environment

_LOOPBACK = "127.0.0.1"
_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 3.0  # Ray waits for its workers; nothing in it is worth waiting for
_READY_LINE = "Ray runtime started."
# Ray's sockets are <temp dir>/session_<date>_<time>_<pid>/sockets/plasma_store: about 65 characters, of 103 allowed.
_TEMP_DIR_CHARACTERS = 38
_TEMP_DIR_PREFIX = "espalier-ray-"
_MARK_VARIABLE = "ESPALIER_RAY_CLUSTER"


@dataclass(frozen=True, kw_only=True)
class ClusterSize:
    cpus: int | None = None  # None: all that this process may use
    object_store_bytes: int = 256 << 20


@dataclass(frozen=True, kw_only=True)
class Head:
    """A head that was started here: how to reach it and how to recognise it."""

    address: str
    leader: ProcessIdentity
    temp_dir: str
    mark: str

    def is_alive(self) -> bool:
        return self.leader.is_alive()

    def members(self) -> list[ProcessIdentity]:
        """Every process of the cluster, also where the leader is gone."""
        return session_members(self.leader, (self.mark, self.temp_dir))


class EmbeddedCluster:
    """The head that belongs to one data directory."""

    def __init__(self, data_dir: Path, size: ClusterSize | None = None) -> None:
        self._dir = data_dir.resolve() / "ray"
        self._size = size or ClusterSize()
        self._child: subprocess.Popen[bytes] | None = None  # kept to be collected once it has ended

    @property
    def token_path(self) -> Path:
        return self._dir / "token"

    def environment(self) -> dict[str, str]:
        """For a process that connects to the head; set before it imports Ray."""
        return embedded_environment(self.token_path)

    def current(self) -> Head | None:
        """The recorded head, if it lives."""
        head = self._read_record()
        return head if head is not None and head.is_alive() else None

    def is_healthy(self) -> bool:
        """Whether the recorded head lives and its control store answers."""
        head = self.current()
        return head is not None and _answers(head.address)

    def start(self) -> Head:
        """Return the living head, or reap what is left of a dead one and start another.

        Raises:
            ClusterStartError: Ray did not come up; the message ends with what it printed.
        """
        with self._locked():
            recorded = self._read_record()
            if recorded is not None:
                if recorded.is_alive() and _answers(recorded.address):
                    return recorded
                self._reap(recorded)
            return self._start_new()

    def stop(self) -> bool:
        """Stop the head and everything in its session; false where there was none."""
        with self._locked():
            recorded = self._read_record()
            if recorded is None:
                return False
            self._reap(recorded)
            return True

    def _start_new(self) -> Head:
        self._write_token()
        temp_dir = self._make_temp_dir()
        mark = secrets.token_hex(16)
        port, client_port = _free_ports(2)
        log_path = self._dir / "head.log"
        with log_path.open("wb") as log:
            process = self._child = subprocess.Popen(
                self._start_command(temp_dir, port, client_port),
                env=self.environment() | {_MARK_VARIABLE: mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self._dir,
            )
        leader = ProcessIdentity.of(process.pid)
        if leader is None:
            raise ClusterStartError(f"Ray ended as soon as it was started:\n{_tail(log_path)}")
        head = Head(address=f"{_LOOPBACK}:{port}", leader=leader, temp_dir=temp_dir, mark=mark)
        self._write_record(head)  # before it is ready: whoever finds it half started can reap it
        try:
            _await_ready(process, log_path)
        except BaseException:
            self._reap(head)
            raise
        return head

    def _start_command(self, temp_dir: str, port: int, client_port: int) -> list[str]:
        cpus = self._size.cpus or len(os.sched_getaffinity(0))
        return [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--no-monitor"),
            *("--disable-usage-stats", "--include-dashboard=false", "--include-log-monitor=false"),
            *("--node-ip-address", _LOOPBACK, "--port", str(port), "--temp-dir", temp_dir),
            *("--num-cpus", str(cpus), "--object-store-memory", str(self._size.object_store_bytes)),
            *("--dashboard-agent-listen-port", "0", "--ray-client-server-port", str(client_port)),
        ]

    def _reap(self, head: Head) -> None:
        members = head.members()
        head.leader.signal(signal.SIGTERM)  # `ray start --block` stops its children in order
        if not wait_until_gone(members, _STOP_TIMEOUT_S if head.leader.is_alive() else 0.0):
            for member in [*head.members(), *members]:
                member.signal(signal.SIGKILL)
            wait_until_gone(members, _STOP_TIMEOUT_S)
        if self._child is not None:
            with suppress(subprocess.TimeoutExpired):  # a moment: its threads may outlive what /proc calls a zombie
                self._child.wait(_STOP_TIMEOUT_S)
        shutil.rmtree(head.temp_dir, ignore_errors=True)
        self._record_path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self._dir / "lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _make_temp_dir(self) -> str:
        inside = self._dir / "t"
        if len(str(inside)) <= _TEMP_DIR_CHARACTERS:
            shutil.rmtree(inside, ignore_errors=True)
            inside.mkdir(mode=0o700)
            return str(inside)
        parent = tempfile.gettempdir()
        return tempfile.mkdtemp(prefix=_TEMP_DIR_PREFIX, dir=parent if len(parent) < 20 else "/tmp")

    def _write_token(self) -> None:
        if self.token_path.exists():
            return
        handle = os.open(self.token_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as sink:
            sink.write(secrets.token_hex(32))

    @property
    def _record_path(self) -> Path:
        return self._dir / "head.json"

    def _write_record(self, head: Head) -> None:
        draft = self._record_path.with_suffix(".new")
        draft.write_text(json.dumps(asdict(head)))
        draft.replace(self._record_path)

    def _read_record(self) -> Head | None:
        try:
            record = json.loads(self._record_path.read_text())
            head = Head(
                address=str(record["address"]),
                leader=ProcessIdentity(**record["leader"]),
                temp_dir=str(record["temp_dir"]),
                mark=str(record["mark"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        temp_dir = Path(head.temp_dir)  # is deleted when the head is reaped: never anything that we did not make
        is_ours = temp_dir == self._dir / "t" or temp_dir.name.startswith(_TEMP_DIR_PREFIX)
        return head if is_ours and len(head.mark) == 32 else None


def _await_ready(process: subprocess.Popen[bytes], log_path: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while _READY_LINE not in log_path.read_text(errors="replace"):
        if process.poll() is not None:
            raise ClusterStartError(f"Ray ended with code {process.returncode} while starting:\n{_tail(log_path)}")
        if time.monotonic() > deadline:
            raise ClusterStartError(f"Ray was not ready within {_START_TIMEOUT_S:.0f} s:\n{_tail(log_path)}")
        time.sleep(0.05)


def _answers(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), timeout=2.0):
            return True
    except OSError:
        return False


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((_LOOPBACK, 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _tail(path: Path, lines: int = 12) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m orchestrator.jobs.cluster", description=__doc__)
    parser.add_argument("action", choices=["start", "stop", "status"])
    parser.add_argument("--data-dir", type=Path, required=True, help="of the control plane that the cluster belongs to")
    parser.add_argument("--cpus", type=int, default=None, help="CPUs to use; default: all that this process may use")
    options = parser.parse_args(arguments)
    cluster = EmbeddedCluster(options.data_dir, ClusterSize(cpus=options.cpus))
    if options.action == "stop":
        print(json.dumps({"stopped": cluster.stop()}))
        return 0
    try:
        head = cluster.start() if options.action == "start" else cluster.current()
    except ClusterStartError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps({"running": head is not None, "address": head.address if head else ""}))
    return 0 if head is not None else 3


if __name__ == "__main__":
    sys.exit(main())
