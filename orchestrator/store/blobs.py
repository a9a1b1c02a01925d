"""Bytes by their SHA-256, on a local folder or any store that fsspec can reach.

An upload grows a `.part` file in the staging folder, which is always local, and can go on from where it stopped. Only
when its size and digest agree does it get its name, with the fsyncs that make the name mean the bytes after a power
loss too.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import fsspec

from orchestrator.errors import (
    BusyError,
    ConflictError,
    CorruptBlobError,
    NotFoundError,
    OrchestratorError,
    StorageError,
    StorageFullError,
    TooLargeError,
    UnavailableError,
)

CHUNK_BYTES = 256 * 1024
BLOB_BYTES_LIMIT = 4 << 30
_NO_SPACE = (28, 122)  # ENOSPC, EDQUOT


class BlobStore:
    """Methods block; from an event loop use the `async` ones, which run them on threads."""

    def __init__(
        self, location: str | Path, *, staging: Path | None = None, size_limit: int = BLOB_BYTES_LIMIT
    ) -> None:
        """
        Args:
            location: a folder, or a URL such as `s3://bucket/blobs`.
            staging: where unfinished uploads live; beside the blobs where those are local.
            size_limit: the largest blob that is accepted.
        """
        self._fs, root = fsspec.core.url_to_fs(str(location))
        self._root = root.rstrip("/")
        self._local = "file" in (self._fs.protocol if isinstance(self._fs.protocol, tuple) else (self._fs.protocol,))
        if staging is None:
            if not self._local:
                raise ValueError("a blob store that is not a local folder needs a local folder for staging")
            staging = Path(self._root) / "staging"
        self._staging = staging
        self._staging.mkdir(parents=True, exist_ok=True)
        self._size_limit = size_limit
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    # ---- reading

    def size(self, digest: str) -> int | None:
        """Bytes of a complete blob, None where there is none."""
        try:
            return int(self._fs.size(self._path(digest)))
        except FileNotFoundError:
            return None

    def read(self, digest: str, offset: int = 0, length: int = CHUNK_BYTES) -> bytes:
        """Up to `length` bytes from `offset`; empty at the end.

        Raises:
            NotFoundError: no such blob.
        """
        try:
            with self._fs.open(self._path(digest), "rb") as file:
                file.seek(offset)
                return bytes(file.read(length))
        except FileNotFoundError:
            raise _not_found(digest) from None

    def get_bytes(self, digest: str, size_limit: int) -> bytes:
        """A whole blob, verified.

        Raises:
            NotFoundError: no such blob.
            TooLargeError: it has more than `size_limit` bytes; nothing was read.
            CorruptBlobError: the stored bytes have changed.
        """
        size = self.size(digest)
        if size is None:
            raise _not_found(digest)
        if size > size_limit:
            raise TooLargeError(f"blob {digest} has {size} bytes, more than the {size_limit} allowed here")
        data = self.read(digest, 0, size)
        if hashlib.sha256(data).hexdigest() != digest:
            raise CorruptBlobError(f"blob {digest} has changed on disk; put it again")
        return data

    async def size_async(self, digest: str) -> int | None:
        return await asyncio.to_thread(self.size, digest)

    async def iterate(self, digest: str, offset: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        """Chunks of a blob from `offset`, each with its own offset.

        Raises:
            NotFoundError: no such blob.
        """
        while data := await asyncio.to_thread(self.read, digest, offset):
            yield offset, data
            offset += len(data)

    # ---- writing

    def received(self, digest: str) -> int:
        """Bytes of an unfinished upload that are here already."""
        try:
            return self._part(digest).stat().st_size
        except FileNotFoundError:
            return 0

    def begin(self, digest: str, size_bytes: int, offset: int) -> Upload | None:
        """Go on with, or from offset 0 begin again, the upload of a blob; None where it is complete already.

        Raises:
            TooLargeError: more than this store accepts.
            ConflictError: `offset` is beyond what is here.
            BusyError: another upload of this blob is under way.
        """
        if self.size(digest) == size_bytes:
            return None
        if size_bytes > self._size_limit:
            raise TooLargeError(f"a blob may have {self._size_limit} bytes, not {size_bytes}")
        with self._lock:
            if digest in self._busy:
                raise BusyError(f"another upload of blob {digest} is under way", retry_after_s=0.5)
            received = self.received(digest)
            if offset > received:
                raise ConflictError(f"{received} bytes of blob {digest} are here, the upload cannot go on at {offset}")
            self._busy.add(digest)
        try:
            return Upload(self, digest, size_bytes, offset)
        except OSError as error:
            self._release(digest)
            raise _os_error(error) from error

    def put_bytes(self, data: bytes) -> str:
        """Store bytes and answer with their digest."""
        digest = hashlib.sha256(data).hexdigest()
        upload = self.begin(digest, len(data), 0)
        if upload is not None:
            with upload:
                upload.write(data)
                upload.finish()
        return digest

    def _store(self, part: Path, digest: str) -> None:
        target = self._path(digest)
        if not self._local:
            self._fs.put_file(str(part), target)
            part.unlink()
            return
        folder = Path(target).parent
        folder.mkdir(parents=True, exist_ok=True)
        os.replace(part, target)
        for directory in (folder, folder.parent, folder.parent.parent):
            _sync_directory(directory)

    def _path(self, digest: str) -> str:
        check_digest(digest)
        return f"{self._root}/{digest[:2]}/{digest[2:4]}/{digest}"

    def _part(self, digest: str) -> Path:
        return self._staging / f"{check_digest(digest)}.part"

    def _release(self, digest: str) -> None:
        with self._lock:
            self._busy.discard(digest)


class Upload:
    """An upload under way; leaving the `with` keeps what has arrived for the next attempt."""

    def __init__(self, store: BlobStore, digest: str, size_bytes: int, offset: int) -> None:
        self.digest = digest
        self.size_bytes = size_bytes
        self._is_resumed = offset > 0
        self._store = store
        self._path = store._part(digest)
        self._hash = hashlib.sha256()
        self._file = open(self._path, "r+b" if offset else "w+b")  # noqa: SIM115  # closed by __exit__
        self._file.truncate(offset)
        self._file.seek(0)
        while chunk := self._file.read(CHUNK_BYTES):
            self._hash.update(chunk)
        self.received_bytes = offset

    def write(self, data: bytes) -> None:
        """
        Raises:
            TooLargeError: more bytes than were announced.
            StorageFullError: no space is left.
        """
        if self.received_bytes + len(data) > self.size_bytes:
            raise TooLargeError(f"blob {self.digest} was announced with {self.size_bytes} bytes; more arrived")
        try:
            self._file.write(data)
        except OSError as error:
            raise _os_error(error) from error
        self._hash.update(data)
        self.received_bytes += len(data)

    def finish(self) -> None:
        """Verify and give the blob its name.

        Raises:
            ConflictError: bytes are missing.
            CorruptBlobError: the digest is another; what had arrived is thrown away.
            UnavailableError: so it is, but the fault may lie in what an earlier upload left here.
        """
        if self.received_bytes != self.size_bytes:
            raise ConflictError(f"{self.received_bytes} of {self.size_bytes} bytes of blob {self.digest} have arrived")
        if self._hash.hexdigest() != self.digest:
            self._path.unlink(missing_ok=True)
            if self._is_resumed:
                raise UnavailableError(f"what was here of blob {self.digest} was damaged; send it again from the start")
            raise CorruptBlobError(
                f"the bytes sent as blob {self.digest} have digest {self._hash.hexdigest()}; send again"
            )
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._store._store(self._path, self.digest)
        except OSError as error:
            raise _os_error(error) from error

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise _os_error(error) from error
        finally:
            self._store._release(self.digest)


def check_digest(digest: str) -> str:
    """
    Raises:
        ValueError: not 64 lower-case hex characters, so that no digest can name a path.
    """
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise ValueError(f"a digest is 64 lower-case hex characters, not {digest[:80]!r}")
    return digest


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _not_found(digest: str) -> NotFoundError:
    return NotFoundError(f"no blob {digest} is here")


def _os_error(error: OSError) -> OrchestratorError:
    if error.errno in _NO_SPACE:
        return StorageFullError("no space is left for blobs; free some, then try again", retry_after_s=30.0)
    return StorageError(f"blobs cannot be stored: {error.strerror}")
