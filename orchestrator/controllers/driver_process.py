"""A job's driver as a process of its own: started, recorded on disk, recognised again, ended.

The record (<data-dir>/jobs/<job>/driver.json) outlives the control plane, so that the next one finds the drivers that a
crash left behind. A process is known by its id, start time and boot; nothing else is ever signalled.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.controllers.config import ControllersConfig
from orchestrator.jobs.processes import ProcessIdentity, session_members

MARK_VARIABLE = "ESPALIER_JOB_DRIVER"
LOG_TAIL_LINES = 12
LOG_TAIL_BYTES = 16_384
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class DriverRecord:
    """What is written down about a driver."""

    job_id: str
    attempt: int
    operator_address: str
    process: ProcessIdentity
    mark: str


@dataclass
class DriverProcess:
    """A driver that this control plane started, or found running."""

    record: DriverRecord
    child: subprocess.Popen[bytes] | None = None  # None: found, not started here

    @property
    def is_alive(self) -> bool:
        if self.child is not None:
            return self.child.poll() is None
        return self.record.process.is_alive()

    @property
    def end_words(self) -> str:
        code = None if self.child is None else self.child.returncode
        if code is None:
            return "ended"
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"

    def signal(self, number: signal.Signals) -> None:
        """To every process of the driver's session."""
        for member in session_members(self.record.process, (self.record.mark,)):
            member.signal(number)

    async def end(self, grace_s: float) -> None:
        """Ask it to end, then make it; returns when its whole session is gone."""
        self.signal(signal.SIGTERM)
        if not await self._gone_within(grace_s):
            self.signal(signal.SIGKILL)
            await self._gone_within(grace_s)

    async def _gone_within(self, timeout_s: float) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while self.is_alive or session_members(self.record.process, (self.record.mark,)):
            if loop.time() > deadline:
                return False
            await asyncio.sleep(0.02)
        return True


def job_dir(config: ControllersConfig, job_id: str) -> Path:
    return config.data_dir / "jobs" / job_id


def driver_command(config: ControllersConfig, job_id: str, attempt: int) -> list[str]:
    """A process on this machine, or one that submits the driver to a Ray cluster and follows it there."""
    common = ["--operator-address", config.operator_address, "--job-id", job_id, "--attempt", str(attempt)]
    if config.ray_address:
        return [sys.executable, "-m", "orchestrator.jobs.submission", "--ray-address", config.ray_address, *common]
    return [sys.executable, "-m", "orchestrator.jobs.driver", *common, "--data-dir", str(config.data_dir.resolve())]


def spawn_driver(config: ControllersConfig, job_id: str, attempt: int, command: Sequence[str]) -> DriverProcess:
    """Start `command` in a session of its own, its output appended to the job's log.

    Raises:
        OSError: the folder, the log or the process could not be made.
    """
    folder = job_dir(config, job_id)
    folder.mkdir(parents=True, exist_ok=True)
    mark = secrets.token_hex(16)
    with (folder / "driver.log").open("ab") as log:
        log.write(f"--- attempt {attempt}\n".encode())
        log.flush()
        child = subprocess.Popen(
            list(command),
            env=_environment() | {MARK_VARIABLE: mark},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
        )
    identity = ProcessIdentity.of(child.pid) or ProcessIdentity(pid=child.pid, start_ticks=0, boot_id="")
    record = DriverRecord(
        job_id=job_id, attempt=attempt, operator_address=config.operator_address, process=identity, mark=mark
    )
    draft = folder / "driver.json.new"
    draft.write_text(json.dumps(asdict(record)))
    draft.replace(folder / "driver.json")
    return DriverProcess(record, child)


def find_recorded(config: ControllersConfig) -> list[DriverProcess]:
    """Drivers on record, alive or not; records that cannot be read are passed over."""
    found = []
    for path in sorted((config.data_dir / "jobs").glob("*/driver.json")):
        try:
            plain = json.loads(path.read_text())
            record = DriverRecord(**{**plain, "process": ProcessIdentity(**plain["process"])})
        except (OSError, ValueError, TypeError, KeyError):
            continue
        found.append(DriverProcess(record))
    return found


def forget(config: ControllersConfig, job_id: str) -> None:
    (job_dir(config, job_id) / "driver.json").unlink(missing_ok=True)


def log_tail(config: ControllersConfig, job_id: str) -> str:
    """The last lines a driver wrote, for people."""
    try:
        with (job_dir(config, job_id) / "driver.log").open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - LOG_TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-LOG_TAIL_LINES:])


def _environment() -> dict[str, str]:
    """Ours, with this very package importable: the driver's working directory is another."""
    environment = dict(os.environ)
    paths = [part for part in environment.get("PYTHONPATH", "").split(os.pathsep) if part]
    if str(_PACKAGE_ROOT) not in paths:
        environment["PYTHONPATH"] = os.pathsep.join([str(_PACKAGE_ROOT), *paths])
    return environment
