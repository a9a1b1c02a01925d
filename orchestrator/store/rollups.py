"""Windows and what hours of them were added up to, read as one; sums and sketches merge exactly, so nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Row, Select, Table, delete, literal, select
from sqlalchemy.dialects.sqlite import insert

from orchestrator.store import schema
from orchestrator.store.totals import TotalsBuilder
from protos import fleet_pb2

HOUR_MS = 3_600_000
BATCH = 2000
_windows = schema.windows.c
_rollups = schema.rollups.c


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Whose windows; empty, or "*" for a class, is everybody's."""

    model_name: str = ""
    model_digest: str = ""
    device_id: str = ""
    device_class: str = ""


def rows_of(
    connection: Connection, wanted: Wanted, since_ms: int, until_ms: int, limit: int | None = None
) -> Iterator[Row[Any]]:
    """What has been rolled up, then windows, each oldest first: rows with `windows`, `body` and whose they are."""
    older = select(_rollups.device_id, _rollups.device_class, _rollups.model_digest, _rollups.windows, _rollups.body)
    older = _filtered(older, schema.rollups, wanted, since_ms, until_ms).order_by(_rollups.at_ms)
    rows = cast(Sequence[Row[Any]], connection.execute(older.limit(limit)).all())
    yield from rows
    left = None if limit is None else limit - len(rows)
    newer = select(
        _windows.device_id, _windows.device_class, _windows.model_digest, literal(1).label("windows"), _windows.body
    )
    newer = _filtered(newer, schema.windows, wanted, since_ms, until_ms).order_by(_windows.id)
    yield from connection.execute(newer.limit(left))


def roll_up(connection: Connection, before_ms: int) -> int:
    """Replace up to BATCH windows that ended before by one row per device, model, class and hour; how many.

    Idempotent and exact: an hour that has a row already is added to it, in the transaction that deletes the windows.
    """
    query = select(schema.windows).where(_windows.at_ms < before_ms).order_by(_windows.id).limit(BATCH)
    hours: dict[tuple[str, str, str, int], TotalsBuilder] = {}
    ids = []
    for row in connection.execute(query):
        key = (row.device_id, row.model_digest, row.device_class, row.at_ms // HOUR_MS * HOUR_MS)
        builder = hours.get(key)
        if builder is None:
            builder = hours[key] = _begin(connection, key)
        builder.add(fleet_pb2.Window.FromString(row.body), row.device_class)
        ids.append(row.id)
    for (device_id, model_digest, device_class, at_ms), builder in hours.items():
        changed = {"windows": builder.windows, "body": builder.to_window().SerializeToString()}
        values = {"device_id": device_id, "model_digest": model_digest, "device_class": device_class, "at_ms": at_ms}
        keys = list(schema.rollups.primary_key)
        connection.execute(
            insert(schema.rollups)
            .values({**values, **changed})
            .on_conflict_do_update(index_elements=keys, set_=changed)
        )
    for start in range(0, len(ids), 500):  # a statement takes a limited number of parameters
        connection.execute(delete(schema.windows).where(_windows.id.in_(ids[start : start + 500])))
    return len(ids)


def _begin(connection: Connection, key: tuple[str, str, str, int]) -> TotalsBuilder:
    """What the hour holds already."""
    device_id, model_digest, device_class, at_ms = key
    builder = TotalsBuilder(device_id, model_digest)
    query = select(_rollups.windows, _rollups.body).where(
        _rollups.device_id == device_id,
        _rollups.model_digest == model_digest,
        _rollups.device_class == device_class,
        _rollups.at_ms == at_ms,
    )
    row = connection.execute(query).one_or_none()
    if row is not None:
        builder.add(fleet_pb2.Window.FromString(row.body), device_class, row.windows)
    return builder


def _filtered(query: Select[Any], table: Table, wanted: Wanted, since_ms: int, until_ms: int) -> Select[Any]:
    query = query.where(table.c.at_ms >= since_ms, table.c.at_ms < until_ms)
    if wanted.model_name:
        named = select(schema.models.c.digest).where(schema.models.c.name == wanted.model_name)
        query = query.where(table.c.model_digest.in_(named))
    for name in ("model_digest", "device_id", "device_class"):
        value = getattr(wanted, name)
        if value and value != "*":
            query = query.where(table.c[name] == value)
    return query
