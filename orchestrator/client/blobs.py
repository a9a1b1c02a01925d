"""Blobs up and down: from where it stopped, across restarts of the server, and verified."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

from orchestrator.client.connection import Connection
from orchestrator.client.digests import Digest, sha256_of
from orchestrator.errors import CorruptBlobError, NotFoundError, TooLargeError, UnavailableError
from protos import model_pb2, operator_pb2_grpc
from protos import operator_pb2 as pb

CHUNK_BYTES = 256 * 1024
SIZE_LIMIT = 1 << 30

Progress = Callable[[float], None]
"""Told the share that is done, 0 to 1."""


class Blobs:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def _stub(self) -> operator_pb2_grpc.BlobsStub:
        stub: operator_pb2_grpc.BlobsStub = self._connection.stub(operator_pb2_grpc.BlobsStub)
        return stub

    async def stat(self, digest: Digest) -> pb.BlobStat:
        """Whether a blob is there, or how much of it."""
        request = pb.GetBlobRequest(sha256=sha256_of(digest))
        stat: pb.BlobStat = await self._connection.call(self._stub.Stat, request)
        return stat

    async def put(self, source: bytes | Path, *, on_progress: Progress | None = None) -> str:
        """Upload bytes or a file and answer with the digest, in hex; what is there already is not sent again."""
        digest, size = await asyncio.to_thread(_measure, source)
        report = on_progress or _silent
        blob = model_pb2.BlobRef(sha256=bytes.fromhex(digest), size_bytes=size)

        async def attempt() -> None:
            stat = await self._stub.Stat(pb.GetBlobRequest(sha256=blob.sha256), timeout=20.0)
            if not stat.complete:
                offset = min(stat.received_bytes, size)
                messages = _upload(source, blob, offset, report)
                answer = await self._stub.Put(messages, timeout=_deadline_s(size - offset))
                if not answer.complete:
                    raise UnavailableError(f"the upload of blob {digest} ended early")
            report(1.0)

        await self._connection.repeat(attempt)
        return digest

    async def get(self, digest: Digest, *, size_limit: int = SIZE_LIMIT, on_progress: Progress | None = None) -> bytes:
        """A whole blob, verified.

        Raises:
            NotFoundError: no such blob.
            TooLargeError: it has more than `size_limit` bytes.
            CorruptBlobError: other bytes came than the digest names.
        """
        received = bytearray()

        async def take(data: bytes) -> None:
            received.extend(data)

        await self._download(digest, lambda: len(received), take, size_limit, on_progress or _silent)
        _check(hashlib.sha256(received).hexdigest(), digest)
        return bytes(received)

    async def get_file(
        self, digest: Digest, path: Path, *, size_limit: int = SIZE_LIMIT, on_progress: Progress | None = None
    ) -> None:
        """`get` into a file, by way of `<path>.part`, which a later call goes on from."""
        part = path.with_name(f"{path.name}.part")
        with part.open("ab+") as file:

            async def take(data: bytes) -> None:
                await asyncio.to_thread(file.write, data)

            await self._download(digest, file.tell, take, size_limit, on_progress or _silent)
            actual = await asyncio.to_thread(_hash_file, file)
            if actual != sha256_of(digest).hex():
                part.unlink()
            _check(actual, digest)
            os.fsync(file.fileno())
        os.replace(part, path)

    async def _download(
        self,
        digest: Digest,
        position: Callable[[], int],
        take: Callable[[bytes], object],
        size_limit: int,
        report: Progress,
    ) -> None:
        sha256 = sha256_of(digest)

        async def attempt() -> None:
            call = self._stub.Get(pb.GetBlobRequest(sha256=sha256, offset=position()), timeout=_deadline_s(size_limit))
            size = None
            async for chunk in self._connection.messages(call):
                size = chunk.size_bytes
                if size > size_limit:
                    raise TooLargeError(
                        f"blob {sha256.hex()} has {size} bytes, more than the {size_limit} allowed here"
                    )
                if chunk.offset != position() or position() + len(chunk.data) > size:
                    raise CorruptBlobError(f"blob {sha256.hex()} came out of order")
                await take(chunk.data)  # type: ignore[misc]
                report(position() / size if size else 1.0)
            if size is None:
                raise NotFoundError(f"the server sent nothing of blob {sha256.hex()}")
            if position() != size:
                raise UnavailableError(f"the download of blob {sha256.hex()} ended early")

        await self._connection.repeat(attempt)


async def _upload(
    source: bytes | Path, blob: model_pb2.BlobRef, offset: int, report: Progress
) -> AsyncIterator[pb.PutBlobRequest]:
    yield pb.PutBlobRequest(header=pb.PutBlobHeader(blob=blob, offset=offset))
    async for data in _chunks(source, offset):
        yield pb.PutBlobRequest(data=data)
        offset += len(data)
        report(offset / blob.size_bytes)


async def _chunks(source: bytes | Path, offset: int) -> AsyncIterator[bytes]:
    if isinstance(source, bytes):
        for start in range(offset, len(source), CHUNK_BYTES):
            yield source[start : start + CHUNK_BYTES]
        return
    with source.open("rb") as file:
        file.seek(offset)
        while data := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield data


def _measure(source: bytes | Path) -> tuple[str, int]:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest(), len(source)
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest, file.tell()


def _hash_file(file: BinaryIO) -> str:
    file.flush()
    file.seek(0)
    digest = hashlib.sha256()
    while data := file.read(CHUNK_BYTES):
        digest.update(data)
    return digest.hexdigest()


def _check(actual: str, digest: Digest) -> None:
    expected = sha256_of(digest).hex()
    if actual != expected:
        raise CorruptBlobError(f"what came as blob {expected} has digest {actual}; get it again")


def _deadline_s(size: int) -> float:
    """Generous: a megabyte per second, and a minute."""
    return 60.0 + size / 1e6


def _silent(share: float) -> None:
    return
