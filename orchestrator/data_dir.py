"""The folder that one control plane owns: its lock, and the file that says where it listens."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import IO

from orchestrator.errors import ConfigError


class DataDir:
    """Locked from `open` to `close`, or to the end of the process, however it ends."""

    def __init__(self, path: Path, lock: IO[str]) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def open(cls, path: Path) -> DataDir:
        """
        Raises:
            ConfigError: it cannot be made or written, or another control plane has it.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = (path / "lock").open("a+")
        except OSError as error:
            raise ConfigError(f"the data directory {path} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            raise ConfigError(f"another control plane, process {owner}, uses {path}: stop it first") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        data_dir = cls(path, lock)
        data_dir.endpoints_file.unlink(missing_ok=True)
        return data_dir

    @property
    def endpoints_file(self) -> Path:
        return self.path / "endpoints.json"

    def write_endpoints(self, **addresses: str) -> None:
        """Say where it listens; whoever finds the file can call at once."""
        draft = self.endpoints_file.with_suffix(".new")
        draft.write_text(json.dumps({**addresses, "pid": os.getpid()}) + "\n")
        draft.replace(self.endpoints_file)

    def close(self) -> None:
        self.endpoints_file.unlink(missing_ok=True)
        self._lock.close()
