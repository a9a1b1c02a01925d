"""Watches that survive a restart of the server: taken up again where they stopped, nothing twice, nothing missed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from orchestrator.client.connection import Connection
from orchestrator.errors import OrchestratorError, UnavailableError
from protos import operator_pb2 as pb
from protos import operator_pb2_grpc

LASTED_S = 3.0
"""A watch that lasted this long had worked; its end is a new trouble, not the old one again."""


async def follow(connection: Connection, method: Callable[[], Any], from_revision: int, id: str) -> AsyncIterator[Any]:
    """Messages of a Watch from `from_revision` on, 0 for from now.

    Several messages may share a revision. A watch that broke off among them is taken up before that revision, and those
    that have been seen are left out.
    """
    if not from_revision:
        # Fix what "now" is before watching, or a first connection that breaks would move it.
        stub = connection.stub(operator_pb2_grpc.JobsStub)
        from_revision = (await connection.call(stub.List, pb.ListRequest(limit=1))).revision
    revision, seen = from_revision, 0
    patience = None
    while True:
        skip, resume_at = (seen, revision - 1) if seen else (0, revision)
        if not resume_at:  # the one revision that cannot be resumed before; 0 would mean now
            skip, resume_at = 0, revision
        began = time.monotonic()
        call = method()(pb.WatchRequest(from_revision=resume_at, id=id))
        try:
            async for message in connection.messages(call):
                if message.revision == revision and skip:
                    skip -= 1
                    continue
                seen = seen + 1 if message.revision == revision else 1
                revision = message.revision
                yield message
            raise UnavailableError("the server ended the watch")
        except OrchestratorError as error:
            if patience is None or time.monotonic() - began > LASTED_S:
                patience = connection.patience()
            await patience.wait_or_raise(error)
