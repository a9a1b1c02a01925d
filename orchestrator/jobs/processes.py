"""Which process is which, so that only what is ours is ever signalled.

A process id alone names nothing: the kernel hands it out again. A process is known by its id, the tick it started at
and the boot that tick counts from. Reads Linux's /proc; where that is missing nothing is found and nothing is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True)
class ProcessIdentity:
    pid: int
    start_ticks: int  # since boot
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """The identity of the process that has this id now, or None where there is none (a zombie is none)."""
        stat = _stat(pid)
        return None if stat is None else cls(pid=pid, start_ticks=stat.start_ticks, boot_id=boot_id())

    def is_alive(self) -> bool:
        return ProcessIdentity.of(self.pid) == self

    def signal(self, number: signal.Signals) -> None:
        """Send a signal unless the process is gone or its id belongs to another by now."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


@dataclass(frozen=True)
class _Stat:
    state: str
    session_id: int
    start_ticks: int


def boot_id() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def session_members(leader: ProcessIdentity, marks: tuple[str, ...]) -> list[ProcessIdentity]:
    """Processes of the session that `leader` opened.

    Where the leader is gone its id may have been given to a stranger who opened a session too; then only processes
    count that have one of `marks` in their environment, command line or the paths of their open files.
    """
    if leader.boot_id != boot_id():
        return []
    certain = leader.is_alive()
    members = []
    for pid in _pids():
        stat = _stat(pid)
        if stat is None or stat.session_id != leader.pid or stat.start_ticks < leader.start_ticks:
            continue
        if certain or _carries(pid, marks):
            members.append(ProcessIdentity(pid=pid, start_ticks=stat.start_ticks, boot_id=leader.boot_id))
    return members


def wait_until_gone(processes: list[ProcessIdentity], timeout_s: float) -> bool:
    """Whether all of them had ended before the timeout."""
    deadline = time.monotonic() + timeout_s
    while any(process.is_alive() for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _pids() -> Iterator[int]:
    with contextlib.suppress(OSError):
        for entry in os.scandir(_PROC):
            if entry.name.isdigit():
                yield int(entry.name)


def _stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
        fields = text[text.rindex(")") + 2 :].split()  # the name before it may hold spaces and brackets
        stat = _Stat(state=fields[0], session_id=int(fields[3]), start_ticks=int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None
    return None if stat.state in "ZX" else stat


def _carries(pid: int, marks: tuple[str, ...]) -> bool:
    return any(mark.encode() in text for text in _traces(pid) for mark in marks)


def _traces(pid: int) -> Iterator[bytes]:
    process = _PROC / str(pid)
    for name in ("environ", "cmdline"):
        with contextlib.suppress(OSError):
            yield (process / name).read_bytes()
    with contextlib.suppress(OSError):  # a process that sets its title overwrites both of the above
        for link in (process / "fd").iterdir():
            yield os.fsencode(os.readlink(link))
