"""Watches of the event log: every change from a revision on, each once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from orchestrator.records import Event
from orchestrator.services import limits
from orchestrator.services.context import Context
from orchestrator.store import Database, Session
from protos import operator_pb2

M = TypeVar("M")

Render = Callable[[Session, Event], Sequence[M]]
"""Turns an event into what the watcher is sent; runs on the same view of the database that the event was read in."""

BATCH = 64
COALESCE_S = 0.01
"""Writes come in bursts: one look after a moment sees all of a burst."""


async def watch(
    database: Database, kind: str, request: operator_pb2.WatchRequest, context: Context, render: Render[M]
) -> AsyncIterator[M]:
    """What `render` makes of every event of `kind` after the revision asked for, until the caller leaves.

    Raises:
        RevisionGoneError: events after that revision have been deleted; the caller lists again.
    """
    limits.check_text("id", request.id, 128)
    after = request.from_revision or database.revision

    def read(session: Session) -> tuple[list[M], int]:
        found, up_to = session.events(after=after, kinds=[kind], subject=request.id, limit=BATCH)
        return [message for event in found for message in render(session, event)], up_to

    await context.send_initial_metadata(())  # tells the caller from when on it watches
    while True:
        messages, up_to = await database.read(read)
        for message in messages:
            yield message
        if up_to == after:
            await database.wait_for_revision(after)
            await asyncio.sleep(COALESCE_S)
        after = up_to


def list_limit(request: operator_pb2.ListRequest) -> int:
    limits.check_text("device_id", request.device_id, 64)
    limits.check_text("job_id", request.job_id, 64)
    return min(request.limit or 1000, 10_000)


def checked_id(request: operator_pb2.GetRequest) -> str:
    return limits.check_text("id", request.id, 128, required=True)
