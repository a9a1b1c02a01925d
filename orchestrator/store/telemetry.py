"""Telemetry windows as devices sent them, and where the server stands in each device's spool.

Windows are kept as their wire bytes and added up when asked for. `at_ms`, by which they are found, is the end of the
window by the device's clock, but never later than its arrival: a clock that runs ahead cannot put data into the future.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from orchestrator.records import WindowTotals
from orchestrator.store import schema
from orchestrator.store.events import append_event
from orchestrator.store.rollups import Wanted, roll_up, rows_of
from orchestrator.store.totals import TotalsBuilder
from protos import fleet_pb2

_cursors = schema.spool_cursors.c
_windows = schema.windows.c
_dropped = schema.dropped_ranges.c

FIRST_SEQ = 1
"""Every spool begins with this."""


@dataclass(frozen=True)
class StoredWindow:
    device_id: str
    device_class: str
    revision: int
    window: fleet_pb2.Window


class Telemetry:
    def __init__(self, connection: Connection, now_ms: int) -> None:
        self.connection = connection
        self.now_ms = now_ms

    # ---- cursors

    def next_seq(self, device_id: str, stream: str, spool_id: str) -> int:
        """The sequence number that comes next in this log; `stream` is "telemetry" or "samples"."""
        query = select(_cursors.next_seq).where(
            _cursors.device_id == device_id, _cursors.stream == stream, _cursors.spool_id == spool_id
        )
        return self.connection.execute(query).scalar_one_or_none() or FIRST_SEQ

    def latest_next_seq(self, device_id: str, stream: str) -> int:
        """`next_seq` of the spool that this device used last; 0 where it has used none."""
        query = select(_cursors.next_seq).where(_cursors.device_id == device_id, _cursors.stream == stream)
        return self.connection.execute(query.order_by(_cursors.updated_at_ms.desc()).limit(1)).scalar_one_or_none() or 0

    def move_cursor(self, device_id: str, stream: str, spool_id: str, next_seq: int) -> None:
        row = upsert(schema.spool_cursors).values(
            device_id=device_id, stream=stream, spool_id=spool_id, next_seq=next_seq, updated_at_ms=self.now_ms
        )
        changed = {"next_seq": next_seq, "updated_at_ms": self.now_ms}
        keys = [_cursors.device_id, _cursors.stream, _cursors.spool_id]
        self.connection.execute(row.on_conflict_do_update(index_elements=keys, set_=changed))

    def count_spools(self, device_id: str) -> int:
        query = select(func.count()).where(_cursors.device_id == device_id)
        return int(self.connection.execute(query).scalar_one())

    # ---- windows

    def add_windows(
        self, device_id: str, device_class: str, spool_id: str, windows: dict[int, fleet_pb2.Window]
    ) -> int:
        """Keep windows by their sequence numbers, under one revision, which is returned."""
        seqs = sorted(windows)
        summary = json.dumps({"spool_id": spool_id, "first_seq": seqs[0], "last_seq": seqs[-1]})
        revision = append_event(self.connection, "telemetry", device_id, self.now_ms, summary)
        rows = [
            {
                "device_id": device_id,
                "spool_id": spool_id,
                "seq": seq,
                "device_class": device_class,
                "model_digest": windows[seq].model_sha256.hex(),
                "at_ms": min(windows[seq].end_ms, self.now_ms),
                "received_at_ms": self.now_ms,
                "revision": revision,
                "body": windows[seq].SerializeToString(),
            }
            for seq in seqs
        ]
        self.connection.execute(insert(schema.windows), rows)
        return revision

    def add_dropped(self, device_id: str, spool_id: str, first_seq: int, last_seq: int, reason: str) -> None:
        """Keep what a device says it had to forget."""
        row = {
            "device_id": device_id,
            "spool_id": spool_id,
            "first_seq": first_seq,
            "last_seq": last_seq,
            "reason": reason,
            "received_at_ms": self.now_ms,
        }
        self.connection.execute(insert(schema.dropped_ranges).values(row))

    def windows(self, *, revision: int = 0, device_id: str = "") -> Iterator[StoredWindow]:
        """Windows in the order in which they were taken; of one revision or device where one is named."""
        query = select(schema.windows).order_by(_windows.id)
        if revision:
            query = query.where(_windows.revision == revision)
        if device_id:
            query = query.where(_windows.device_id == device_id)
        for row in self.connection.execute(query):
            yield StoredWindow(row.device_id, row.device_class, row.revision, fleet_pb2.Window.FromString(row.body))

    def window_totals(
        self,
        *,
        model_name: str = "",
        model_digest: str = "",
        device_id: str = "",
        device_class: str = "",
        since_ms: int = 0,
        until_ms: int = 0,
    ) -> list[WindowTotals]:
        """Windows that ended within [since_ms, until_ms), added up per device and model; until now where it is 0.

        Ordered by device, then by when the model was first seen there. `dropped_records` is of the device, whatever
        the model. Windows that have been rolled up count by the hour: it belongs to the stretch that it begins in.
        """
        until_ms = until_ms or self.now_ms + 1
        wanted = Wanted(
            model_name=model_name, model_digest=model_digest, device_id=device_id, device_class=device_class
        )
        builders: dict[tuple[str, str], TotalsBuilder] = {}
        for row in rows_of(self.connection, wanted, since_ms, until_ms):
            key = (row.device_id, row.model_digest)
            builder = builders.setdefault(key, TotalsBuilder(*key))
            builder.add(fleet_pb2.Window.FromString(row.body), row.device_class, row.windows)
        dropped = self._dropped_per_device(since_ms, until_ms) if builders else {}
        for (device, _), builder in builders.items():
            builder.dropped_records = dropped.get(device, 0)
        return [builder.build() for builder in sorted(builders.values(), key=lambda builder: builder.device_id)]

    def first_totals(self, *, device_id: str, model_digest: str, min_requests: int, limit: int) -> WindowTotals | None:
        """The first windows of a model on a device, at most `limit` rows, added up until they hold `min_requests`."""
        wanted = Wanted(model_digest=model_digest, device_id=device_id)
        builder = TotalsBuilder(device_id, model_digest)
        for row in rows_of(self.connection, wanted, 0, self.now_ms + 1, limit=limit):
            builder.add(fleet_pb2.Window.FromString(row.body), row.device_class, row.windows)
            if builder.requests >= min_requests:
                break
        return builder.build() if builder.windows else None

    def _dropped_per_device(self, since_ms: int, until_ms: int) -> dict[str, int]:
        query = (
            select(_dropped.device_id, func.sum(_dropped.last_seq - _dropped.first_seq + 1))
            .where(_dropped.received_at_ms >= since_ms, _dropped.received_at_ms < until_ms)
            .group_by(_dropped.device_id)
        )
        return {device_id: int(count) for device_id, count in self.connection.execute(query)}

    def roll_up(self, *, before_ms: int) -> int:
        """Add up windows that ended before, by the hour; how many were replaced, 0 where none is left."""
        return roll_up(self.connection, before_ms)

    def delete_windows(self, *, before_ms: int) -> int:
        """Forget windows, rolled up or not, and dropped ranges; how many rows of windows. Cursors stay."""
        rolled_up = delete(schema.rollups).where(schema.rollups.c.at_ms < before_ms)
        self.connection.execute(delete(schema.dropped_ranges).where(_dropped.received_at_ms < before_ms))
        old = delete(schema.windows).where(_windows.received_at_ms < before_ms)
        return self.connection.execute(rolled_up).rowcount + self.connection.execute(old).rowcount
