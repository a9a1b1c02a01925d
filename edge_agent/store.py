"""Models and tensors on disk, each a file named by its SHA-256.

A download goes to `<digest>.part` and may be taken up again at its length. A file gets its final name only after its
whole content was hashed, so a name without `.part` was once right; `read` hashes again, since disks err too. What a
blob is for is not known here: the verifier decides which bytes make a model.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Collection, Mapping
from io import RawIOBase
from pathlib import Path
from types import TracebackType

from edge_agent.crashpoints import reach
from edge_agent.disk import sync_directory
from edge_agent.errors import BlobMissingError, DigestMismatchError, DiskFullError

logger = logging.getLogger(__name__)

RESERVE_BYTES = 8 << 20
"""Left free on the disk, so that the journal can always be written."""
_READ_BYTES = 1 << 20


class BlobStore:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def has(self, digest: str, size_bytes: int) -> bool:
        """Whether a finished file of this name and size is there; `read` also checks what is in it."""
        try:
            return self._path(digest).stat().st_size == size_bytes
        except FileNotFoundError:
            return False

    def read(self, digest: str, size_bytes: int) -> bytes:
        """The blob's bytes, hashed again.

        Raises:
            BlobMissingError: it is not there, or was damaged and has been removed.
        """
        path = self._path(digest)
        try:
            with open(path, "rb") as file:
                if os.fstat(file.fileno()).st_size != size_bytes:
                    raise DigestMismatchError(
                        digest, expected=f"{size_bytes} bytes", actual=f"{os.fstat(file.fileno()).st_size} bytes"
                    )
                data = file.read(size_bytes)
            actual = hashlib.sha256(data).hexdigest()
            if actual != digest:
                raise DigestMismatchError("blob on disk", expected=digest, actual=actual)
        except FileNotFoundError:
            raise BlobMissingError(f"blob {digest} is not on this disk") from None
        except DigestMismatchError as error:
            logger.error("removing a damaged blob: %s", error)
            path.unlink(missing_ok=True)
            raise BlobMissingError(f"blob {digest} was damaged on this disk and has been removed") from error
        return data

    def part_size(self, digest: str, size_bytes: int) -> int:
        """How much of a blob an earlier download left; what is larger than the blob is of no use and removed."""
        path = self._path(digest).with_suffix(".part")
        had = path.stat().st_size if path.exists() else 0
        if had > size_bytes:
            path.unlink()
            had = 0
        return had

    def part_bytes(self, sizes: Mapping[str, int]) -> int:
        return sum(self.part_size(digest, size) for digest, size in sizes.items())

    def open_part(self, digest: str, size_bytes: int) -> PartFile:
        """Begin or take up the download of a blob."""
        self.part_size(digest, size_bytes)
        return PartFile(self._path(digest).with_suffix(".part"), self._path(digest), digest, size_bytes)

    def check_room(self, size_bytes: int) -> None:
        """Raise DiskFullError unless so many bytes fit while the reserve stays free."""
        free = free_bytes(self._directory)
        if size_bytes + RESERVE_BYTES > free:
            raise DiskFullError(
                f"{size_bytes} bytes are needed and {RESERVE_BYTES} are kept in reserve; "
                f"{self._directory} has {free} free"
            )

    def collect(self, keep: Collection[str]) -> int:
        """Remove every blob, finished or not, whose digest is not in `keep`; returns the bytes freed."""
        freed = 0
        for path in self._directory.iterdir():
            if path.stem not in keep:
                freed += path.stat().st_size
                path.unlink()
        if freed:
            sync_directory(self._directory)
        return freed

    def sync(self) -> None:
        sync_directory(self._directory)

    def _path(self, digest: str) -> Path:
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise ValueError(f"not a SHA-256 digest: {digest!r}")
        return self._directory / digest


class PartFile:
    """A blob being downloaded. Leaving the `with` block keeps what was written, for the next attempt."""

    def __init__(self, part: Path, final: Path, digest: str, size_bytes: int) -> None:
        self._part = part
        self._final = final
        self._digest = digest
        self._size_bytes = size_bytes
        self._file: RawIOBase = open(part, "ab", buffering=0)  # noqa: SIM115 - closed by __exit__
        self.offset = self._file.tell()
        """How many bytes are there; the next chunk must begin here."""

    def __enter__(self) -> PartFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def is_complete(self) -> bool:
        return self.offset == self._size_bytes

    def write(self, offset: int, data: bytes) -> None:
        """Append a chunk.

        Raises:
            DigestMismatchError: it does not follow what is there, or goes past the stated size.
            DiskFullError: the disk is full.
        """
        if offset != self.offset:
            raise DigestMismatchError("chunk", expected=f"offset {self.offset}", actual=f"offset {offset}")
        if offset + len(data) > self._size_bytes:
            raise DigestMismatchError(
                "blob", expected=f"{self._size_bytes} bytes", actual=f"at least {offset + len(data)}"
            )
        view = memoryview(data)
        try:
            while view:
                written = self._file.write(view) or 0
                self.offset += written
                view = view[written:]
        except OSError as error:
            raise DiskFullError(f"cannot write {self._part}: {error.strerror}") from error
        reach("part-written")

    def finish(self) -> None:
        """Hash the whole file and give it its final name, durably.

        Raises:
            DigestMismatchError: the bytes are not those that were named; they are removed.
        """
        os.fsync(self._file.fileno())
        actual = file_digest(self._part)
        if actual != self._digest:
            self._part.unlink()
            raise DigestMismatchError("downloaded blob", expected=self._digest, actual=actual)
        reach("blob-verified")
        os.replace(self._part, self._final)
        reach("blob-renamed")
        sync_directory(self._final.parent)


def free_bytes(directory: Path) -> int:
    """What an unprivileged process may still write there."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize


def file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
