"""Which devices are there: kept in memory, written in bulk, so that no heartbeat costs a transaction of its own."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from orchestrator.errors import OrchestratorError
from orchestrator.store import Database, Session

logger = logging.getLogger(__name__)


TOUCH_INTERVAL_S = 10.0
"""Between two notes of when a device that stays online was last heard of."""


class Liveness:
    """A device is online while it holds a Watch, and for a while after each of its calls."""

    def __init__(self, database: Database, *, offline_after_s: float, flush_interval_s: float) -> None:
        self._database = database
        self._offline_after_ms = int(offline_after_s * 1000)
        self._flush_interval_s = flush_interval_s
        self._seen_ms: dict[str, int] = {}
        self._online: set[str] = set()
        """Those that the database has as online, as far as is known here."""
        self._unwritten: set[str] = set()
        self._touched_ms = 0
        self._watches: Counter[str] = Counter()

    @property
    def known(self) -> int:
        """Devices that have been heard of since the start, or were online before it."""
        return len(self._seen_ms)

    def seen(self, device_id: str) -> None:
        self._seen_ms[device_id] = self._database.now_ms()
        self._unwritten.add(device_id)

    def watch_opened(self, device_id: str) -> None:
        self._watches[device_id] += 1
        self.seen(device_id)

    def watch_closed(self, device_id: str) -> None:
        self._watches[device_id] -= 1
        if not self._watches[device_id]:
            del self._watches[device_id]
        self.seen(device_id)

    async def run(self) -> None:
        """Write what has changed, again and again, until cancelled."""
        now_ms = self._database.now_ms()
        for device in await self._database.read(lambda session: session.devices.list(limit=1_000_000)):
            if device.online:  # after a restart everybody gets a full interval to come back
                self._seen_ms.setdefault(device.id, now_ms)
                self._online.add(device.id)
        while True:
            await asyncio.sleep(self._flush_interval_s)
            try:
                await self.flush()
            except OrchestratorError as error:
                logger.warning("liveness could not be written, will try again: %s", error)

    async def flush(self, *, touch: bool = False) -> None:
        """Write who came and who went; now and then, or if `touch`, also when the others were last heard of."""
        now_ms = self._database.now_ms()
        touch = touch or now_ms - self._touched_ms >= TOUCH_INTERVAL_S * 1000
        for device_id in self._watches:
            self.seen(device_id)
        came = self._unwritten - self._online
        late_ms = now_ms - self._offline_after_ms
        went = {device_id: seen_ms for device_id, seen_ms in self._seen_ms.items() if seen_ms < late_ms}
        touched = self._unwritten if touch else came
        if not touched and not went:
            return
        seen = {device_id: self._seen_ms[device_id] for device_id in touched}

        def write(session: Session) -> None:
            session.devices.touch(seen)
            for device_id in came:
                session.devices.set_online(device_id, True)
            for device_id in went:
                session.devices.set_online(device_id, False)

        self._unwritten = self._unwritten - touched
        try:
            await self._database.write(write)
        except OrchestratorError:
            self._unwritten |= touched
            raise
        self._touched_ms = now_ms if touch else self._touched_ms
        self._online = (self._online | came) - set(went)
        for device_id, seen_ms in went.items():
            if self._seen_ms[device_id] == seen_ms:  # else it has come back meanwhile
                del self._seen_ms[device_id]
