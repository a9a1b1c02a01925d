"""Rings at the devices that have reason to sync. Losing a ring costs latency only, so rings are never kept."""

from __future__ import annotations

import asyncio
import logging

from orchestrator.errors import OrchestratorError, RevisionGoneError
from orchestrator.records import Benchmark, Event
from orchestrator.store import Database
from orchestrator.store.codec import decode
from orchestrator.store.devices import DOORBELL_KINDS

logger = logging.getLogger(__name__)


class Bell:
    """One open Watch. `revision` is what rang last; rings that nobody has heard yet are one ring."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.revision = 0
        self.is_replaced = False
        self._rung = asyncio.Event()

    def ring(self, revision: int) -> None:
        self.revision = revision
        self._rung.set()

    def replace(self) -> None:
        self.is_replaced = True
        self._rung.set()

    async def heard(self, timeout_s: float) -> bool:
        """Wait for a ring; False where none came in time."""
        try:
            async with asyncio.timeout(timeout_s):  # wait_for can swallow a cancellation before Python 3.12
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True


class Doorbells:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._bells: dict[str, Bell] = {}
        self._is_closing = False

    def __len__(self) -> int:
        return len(self._bells)

    @property
    def is_closing(self) -> bool:
        return self._is_closing

    def install(self, device_id: str, epoch: int) -> Bell:
        """A bell for a new session; an older session of the device is told to end."""
        before = self._bells.get(device_id)
        bell = Bell(epoch)
        if before is not None and before.epoch > epoch:
            bell.replace()
            return bell
        if before is not None:
            before.replace()
        self._bells[device_id] = bell
        return bell

    def remove(self, device_id: str, bell: Bell) -> None:
        if self._bells.get(device_id) is bell:
            del self._bells[device_id]

    def close(self) -> None:
        """Wake every session so that it can say goodbye."""
        self._is_closing = True
        for bell in self._bells.values():
            bell.ring(bell.revision)

    async def run(self) -> None:
        """Follow the event log and ring, until cancelled."""
        revision = self._database.revision
        while True:
            try:
                await self._database.wait_for_revision(revision)
                found, revision = await self._database.read(
                    lambda session, after=revision: session.events(after=after, kinds=DOORBELL_KINDS)  # type: ignore[misc]
                )
            except RevisionGoneError:
                revision = self._database.revision
                continue
            except OrchestratorError as error:
                logger.warning("the event log could not be read, doorbells are late: %s", error)
                await asyncio.sleep(1.0)
                continue
            for event in found:
                self._ring(event)

    def _ring(self, event: Event) -> None:
        devices = [event.subject]
        if event.kind == "benchmark":
            benchmark = decode(Benchmark, event.snapshot)
            devices = [] if benchmark.done else list(benchmark.device_ids)
        for device_id in devices:
            bell = self._bells.get(device_id)
            if bell is not None:
                bell.ring(event.revision)
