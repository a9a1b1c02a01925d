"""Writing files so that they survive a crash: all or nothing, and durable before anybody relies on them."""

from __future__ import annotations

import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable; without it a rename may be lost with the power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes) -> None:
    """Replace the file as a whole: write beside it, fsync, rename, fsync the directory."""
    temporary = write_beside(path, data)
    os.replace(temporary, path)
    sync_directory(path.parent)


def write_beside(path: Path, data: bytes) -> Path:
    """Write and fsync the file that is about to be renamed to `path`."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return temporary
