"""The models on this disk: fetched, verified, and removed when nothing refers to them any more."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from edge_agent.client import Backoff, ControlPlaneClient
from edge_agent.download import Downloader
from edge_agent.errors import ModelError
from edge_agent.life import ModelRef
from edge_agent.store import BlobStore
from edge_agent.verify import ArtifactVerifier, VerifiedModel

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")


class InThread(Protocol):
    """Runs what would hold the event loop up in a thread."""

    async def __call__(self, call: Callable[[], _Result], /) -> _Result: ...


class ModelLibrary:
    def __init__(
        self,
        store: BlobStore,
        verifier: ArtifactVerifier,
        client: ControlPlaneClient,
        backoff: Callable[[], Backoff],
        in_thread: InThread,
    ) -> None:
        self._store = store
        self._verifier = verifier
        self._downloader = Downloader(client, store, verifier, backoff, in_thread)
        self._in_thread = in_thread

    def check_room(self, model: ModelRef) -> bool:
        """Whether everything is here already; raises ModelRefusedError or DiskFullError where it will not fit."""
        self._verifier.check_stated_size(model)
        self._store.check_room(model.size_bytes)
        return self._downloader.is_complete(model)

    async def fetch(self, model: ModelRef) -> None:
        await self._downloader.fetch(model)

    async def verify(self, model: ModelRef) -> VerifiedModel:
        """Raises BlobMissingError where something has to be fetched first, another ModelError where it cannot serve."""
        return await self._in_thread(lambda: self._verifier.verify(model))

    async def golden(self, model: ModelRef) -> bytes:
        return await self._in_thread(lambda: self._verifier.golden(model))

    async def make_durable(self) -> None:
        await self._in_thread(self._store.sync)

    def keep_only(self, models: Iterable[ModelRef | None]) -> None:
        """Remove every blob that none of these models refers to."""
        keep: set[str] = set()
        for model in models:
            if model is None:
                continue
            keep.add(model.digest)
            with contextlib.suppress(ModelError):
                keep.update(blob.sha256.hex() for blob in self._verifier.required_blobs(model))
        freed = self._store.collect(keep)
        if freed:
            logger.info("removed %d bytes of models that are no longer needed", freed)
