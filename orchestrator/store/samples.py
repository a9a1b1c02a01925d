"""Inputs that devices were allowed to return, until they are used up, expire or are deleted for good."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from orchestrator.records import SampleStats
from orchestrator.store import schema
from orchestrator.store.events import append_event
from protos import fleet_pb2

_samples = schema.samples.c
_requests = schema.sample_requests.c


@dataclass(frozen=True)
class StoredSample:
    id: int
    device_id: str
    sample: fleet_pb2.Sample


class Samples:
    def __init__(self, connection: Connection, now_ms: int) -> None:
        self.connection = connection
        self.now_ms = now_ms

    def add(self, device_id: str, samples: Iterable[fleet_pb2.Sample]) -> int:
        """How many were added."""
        rows = [
            {
                "device_id": device_id,
                "model_digest": sample.model_sha256.hex(),
                "received_at_ms": self.now_ms,
                "body": sample.SerializeToString(),
            }
            for sample in samples
        ]
        if rows:
            self.connection.execute(insert(schema.samples), rows)
        return len(rows)

    # ---- what is wanted

    def ask(self, device_id: str, count: int) -> None:
        """Let a device return `count` samples more from now on, if its own operator allows it; 0 wants none.

        A device that is already asked keeps the smaller of what remains and `count`: asking again and again, as a
        controller does while it waits, does not raise the quota. Ask for 0 when the need has passed.
        """
        if count <= 0:
            self.connection.execute(delete(schema.sample_requests).where(_requests.device_id == device_id))
            append_event(self.connection, "samples_asked", device_id, self.now_ms, "0")
            return
        before = self.remaining(device_id)
        if before is not None and before <= count:
            return
        row = upsert(schema.sample_requests).values(device_id=device_id, remaining=count, asked_at_ms=self.now_ms)
        lowered = row.on_conflict_do_update(index_elements=["device_id"], set_={"remaining": count})
        self.connection.execute(lowered)
        append_event(self.connection, "samples_asked", device_id, self.now_ms, str(count))

    def remaining(self, device_id: str) -> int | None:
        """How many more samples this device may return; None where none are wanted."""
        query = select(_requests.remaining).where(_requests.device_id == device_id)
        return self.connection.execute(query).scalar_one_or_none()

    def take(self, device_id: str, samples: Sequence[fleet_pb2.Sample]) -> int:
        """Keep what is within the quota and forget the rest; how many more are wanted."""
        remaining = self.remaining(device_id) or 0
        kept = self.add(device_id, samples[:remaining])
        if kept:
            row = update(schema.sample_requests).where(_requests.device_id == device_id)
            self.connection.execute(row.values(remaining=remaining - kept))
        return remaining - kept

    # ---- what is here

    def count(self, device_id: str, *, model_digest: str = "") -> int:
        """Samples held of a device; of requests that this model answered, where one is named."""
        query = select(func.count()).where(_samples.device_id == device_id)
        if model_digest:
            query = query.where(_samples.model_digest == model_digest)
        return int(self.connection.execute(query).scalar_one())

    def stats(self, device_id: str = "") -> list[SampleStats]:
        """Per device that has any, or of the one that is named."""
        query = select(_samples.device_id, func.count(), func.min(_samples.received_at_ms)).group_by(_samples.device_id)
        if device_id:
            query = query.where(_samples.device_id == device_id)
        rows = self.connection.execute(query.order_by(_samples.device_id))
        return [SampleStats(device_id=device, samples=count, oldest_ms=oldest) for device, count, oldest in rows]

    def delete(self, device_id: str) -> int:
        """Delete everything a device returned; what was taken once is not taken again."""
        deleted = self.connection.execute(delete(schema.samples).where(_samples.device_id == device_id)).rowcount
        append_event(self.connection, "samples_deleted", device_id, self.now_ms, str(deleted))
        return deleted

    def delete_older(self, device_id: str, *, before_ms: int) -> int:
        rows = delete(schema.samples).where(_samples.device_id == device_id, _samples.received_at_ms < before_ms)
        return self.connection.execute(rows).rowcount

    def list(self, device_ids: Collection[str], *, after_id: int = 0, limit: int = 256) -> list[StoredSample]:
        """Samples of these devices in the order in which they came, with ids above `after_id`."""
        query = select(schema.samples).where(_samples.device_id.in_(device_ids), _samples.id > after_id)
        rows = self.connection.execute(query.order_by(_samples.id).limit(limit))
        return [StoredSample(row.id, row.device_id, fleet_pb2.Sample.FromString(row.body)) for row in rows]
