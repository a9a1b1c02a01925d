"""The append-only log of everything that changed; watches, lists and audits read from a revision of it.

A revision is given inside the transaction of the change by the only writer, so revisions become visible in order and a
reader that has seen revision r has seen everything before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, insert, select

from orchestrator.errors import RevisionGoneError
from orchestrator.records import Event
from orchestrator.store import schema


def append_event(connection: Connection, kind: str, subject: str, at_ms: int, snapshot: str) -> int:
    """Add one line and answer with its revision."""
    row = insert(schema.events).values(kind=kind, subject=subject, at_ms=at_ms, snapshot=snapshot)
    key = connection.execute(row).inserted_primary_key
    assert key is not None
    return int(key[0])


def last_revision(connection: Connection) -> int:
    return int(connection.execute(select(func.max(schema.events.c.revision))).scalar() or 0)


def read_events(
    connection: Connection, *, after: int, kinds: Sequence[str] = (), subject: str = "", limit: int = 256
) -> tuple[list[Event], int]:
    """Events in order, with revisions greater than `after`, and the revision up to which there are no others.

    All kinds and subjects where none is named.

    Raises:
        RevisionGoneError: some of what came after `after` has been deleted, or `after` lies in the future (a database
            that was restored from a backup).
    """
    _check_readable(connection, after)
    table = schema.events.c
    query = select(schema.events).where(table.revision > after).order_by(table.revision).limit(limit)
    if kinds:
        query = query.where(table.kind.in_(kinds))
    if subject:
        query = query.where(table.subject == subject)
    found = [Event(**row._mapping) for row in connection.execute(query)]
    return found, found[-1].revision if len(found) == limit else last_revision(connection)


def delete_events(connection: Connection, *, before_ms: int) -> int:
    """Delete old events from the front, never the newest one; how many were deleted."""
    keep = select(func.max(schema.events.c.revision)).scalar_subquery()
    first_kept = select(func.coalesce(func.min(schema.events.c.revision), keep)).where(
        schema.events.c.at_ms >= before_ms
    )
    return connection.execute(
        delete(schema.events).where(schema.events.c.revision < first_kept.scalar_subquery())
    ).rowcount


def _check_readable(connection: Connection, after: int) -> None:
    first, last = connection.execute(
        select(func.min(schema.events.c.revision), func.max(schema.events.c.revision))
    ).one()
    if after > (last or 0):
        raise RevisionGoneError(f"revision {after} is not known here, the last is {last or 0}; list again")
    if first is not None and after + 1 < first:
        raise RevisionGoneError(f"events before revision {first} have been deleted; list again")
