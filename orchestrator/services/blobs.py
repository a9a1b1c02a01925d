"""Blobs in and out for operators and jobs, both from an offset."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from orchestrator import convert
from orchestrator.errors import InvalidRequestError
from orchestrator.services import limits
from orchestrator.services.context import Context
from orchestrator.services.fleet import blob_chunks
from orchestrator.store import BlobStore
from orchestrator.store.blobs import BLOB_BYTES_LIMIT
from protos import fleet_pb2, operator_pb2, operator_pb2_grpc


class BlobsService(operator_pb2_grpc.BlobsServicer):
    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def Put(  # noqa: N802
        self, request: AsyncIterator[operator_pb2.PutBlobRequest], context: Context
    ) -> operator_pb2.BlobStat:
        first = await anext(aiter(request), None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidRequestError("the first message names the blob and the offset")
        digest, size = limits.check_blob("blob", first.header.blob, BLOB_BYTES_LIMIT)
        upload = await asyncio.to_thread(self._blobs.begin, digest, size, first.header.offset)
        if upload is not None:
            with upload:
                async for part in request:
                    if part.WhichOneof("part") != "data":
                        raise InvalidRequestError("after the first message come bytes")
                    await asyncio.to_thread(upload.write, part.data)
                await asyncio.to_thread(upload.finish)
        return operator_pb2.BlobStat(blob=convert.blob_ref(digest, size), complete=True, received_bytes=size)

    async def Get(  # noqa: N802
        self, request: operator_pb2.GetBlobRequest, context: Context
    ) -> AsyncIterator[fleet_pb2.BlobChunk]:
        digest = limits.check_digest("sha256", request.sha256)
        async for chunk in blob_chunks(self._blobs, digest, request.offset):
            yield chunk

    async def Stat(self, request: operator_pb2.GetBlobRequest, context: Context) -> operator_pb2.BlobStat:  # noqa: N802
        digest = limits.check_digest("sha256", request.sha256)
        size = await self._blobs.size_async(digest)
        if size is not None:
            return operator_pb2.BlobStat(blob=convert.blob_ref(digest, size), complete=True, received_bytes=size)
        received = await asyncio.to_thread(self._blobs.received, digest)
        return operator_pb2.BlobStat(blob=convert.blob_ref(digest, 0), received_bytes=received)
