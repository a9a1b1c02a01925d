"""Fetches what a model needs and this disk lacks: resumes at offsets, retries what may pass, gives up on the rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing

from edge_agent.client import Backoff, ControlPlaneClient
from edge_agent.errors import DigestMismatchError, TransientError
from edge_agent.life import ModelRef
from edge_agent.store import BlobStore
from edge_agent.verify import ArtifactVerifier

logger = logging.getLogger(__name__)

WRONG_BYTES_LIMIT = 3
"""So many downloads of wrong bytes and the control plane's copy must be wrong."""


class Downloader:
    """`in_thread` runs what hashes or syncs a whole file away from the event loop."""

    def __init__(
        self,
        client: ControlPlaneClient,
        store: BlobStore,
        verifier: ArtifactVerifier,
        backoff: Callable[[], Backoff],
        in_thread: Callable[[Callable[[], None]], Awaitable[None]],
    ) -> None:
        self._client = client
        self._store = store
        self._verifier = verifier
        self._new_backoff = backoff
        self._in_thread = in_thread

    def is_complete(self, model: ModelRef) -> bool:
        """Whether every blob of the model is on this disk; raises ModelError where its file is not a usable model."""
        if not self._store.has(model.digest, model.size_bytes):
            return False
        return not self._missing(model)

    async def fetch(self, model: ModelRef) -> None:
        """Fetch the model and its blobs. Endless while the control plane is away: the caller sets the limit.

        Raises:
            ModelError: the model exceeds a limit, is malformed, or its bytes stay wrong.
            DiskFullError: it does not fit.
            RefusedError: the control plane does not have it.
        """
        self._verifier.check_stated_size(model)
        await self._fetch_missing(lambda: self._missing_file(model))
        await self._fetch_missing(lambda: self._missing(model))

    def _missing_file(self, model: ModelRef) -> dict[str, int]:
        return {} if self._store.has(model.digest, model.size_bytes) else {model.digest: model.size_bytes}

    def _missing(self, model: ModelRef) -> dict[str, int]:
        blobs = {blob.sha256.hex(): blob.size_bytes for blob in self._verifier.required_blobs(model)}
        return {digest: size for digest, size in blobs.items() if not self._store.has(digest, size)}

    async def _fetch_missing(self, missing: Callable[[], dict[str, int]]) -> None:
        backoff = self._new_backoff()
        wrong, before = 0, 0
        while sizes := missing():
            remaining = sum(sizes.values()) - self._store.part_bytes(sizes)
            self._store.check_room(remaining)
            if remaining < before:
                backoff.reset()
            before = remaining
            try:
                await self._stream(sizes)
            except TransientError as error:
                wait_s = error.retry_after_s if error.retry_after_s is not None else backoff.next_s()
                logger.info("download interrupted, again in %.1f s: %s", wait_s, error)
                await asyncio.sleep(wait_s)
            except DigestMismatchError as error:
                wrong += 1
                if wrong >= WRONG_BYTES_LIMIT:
                    raise
                logger.warning("the control plane sent wrong bytes: %s", error)
                await asyncio.sleep(backoff.next_s())

    async def _stream(self, sizes: Mapping[str, int]) -> None:
        """Take one stream as far as it goes.

        Raises:
            TransientError: it ended before everything was there.
        """
        offsets = {digest: self._store.part_size(digest, size) for digest, size in sizes.items()}
        for digest in [digest for digest, offset in offsets.items() if offset == sizes[digest]]:
            await self._finish(digest, sizes[digest])
            del offsets[digest]
        if not offsets:
            return
        async with aclosing(self._client.get_blobs(list(offsets.items()))) as chunks:
            async for chunk in chunks:
                digest = chunk.sha256.hex()
                if digest not in offsets or chunk.size_bytes != sizes[digest]:
                    actual = f"{digest} of {chunk.size_bytes} bytes"
                    raise DigestMismatchError("chunk", expected="a blob that was asked for", actual=actual)
                with self._store.open_part(digest, sizes[digest]) as part:
                    part.write(chunk.offset, chunk.data)
                    is_complete = part.is_complete
                if is_complete:
                    await self._finish(digest, sizes[digest])
                    del offsets[digest]
                if not offsets:
                    return
        raise TransientError(f"the download ended early: {len(offsets)} blobs are incomplete")

    async def _finish(self, digest: str, size_bytes: int) -> None:
        def finish() -> None:
            with self._store.open_part(digest, size_bytes) as part:
                part.finish()

        await self._in_thread(finish)
