"""Telemetry, as operators ask for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from orchestrator import convert
from orchestrator.records import Event
from orchestrator.services import limits
from orchestrator.services.context import Context
from orchestrator.services.watching import watch
from orchestrator.store import Database, Session
from protos import operator_pb2, operator_pb2_grpc


class TelemetryService(operator_pb2_grpc.TelemetryServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def Query(  # noqa: N802
        self, request: operator_pb2.TelemetryQuery, context: Context
    ) -> operator_pb2.TelemetrySummaryList:
        limits.check_text("device_id", request.device_id, 64)
        limits.check_text("device_class", request.device_class, 64)
        digest = limits.check_optional_digest("model_sha256", request.model_sha256)
        for name in ("from_ms", "until_ms"):
            limits.check_number(name, getattr(request, name), high=limits.TIME_LIMIT_MS)

        def read(session: Session) -> operator_pb2.TelemetrySummaryList:
            totals = session.telemetry.window_totals(
                model_digest=digest,
                device_id=request.device_id,
                device_class=request.device_class,
                since_ms=request.from_ms,
                until_ms=request.until_ms,
            )
            newest_first = totals[::-1]
            newest_first.sort(key=lambda entry: entry.device_id)  # stable: models stay newest first within a device
            summaries = [convert.telemetry_summary(entry) for entry in newest_first]
            return operator_pb2.TelemetrySummaryList(summaries=summaries, revision=session.revision)

        return await self._database.read(read)

    async def Watch(  # noqa: N802
        self, request: operator_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[operator_pb2.TelemetryEvent]:
        """Windows as they arrive; `id` is a device."""

        def render(session: Session, event: Event) -> list[operator_pb2.TelemetryEvent]:
            return [
                operator_pb2.TelemetryEvent(revision=event.revision, device_id=stored.device_id, window=stored.window)
                for stored in session.telemetry.windows(revision=event.revision)
            ]

        async for message in watch(self._database, "telemetry", request, context, render):
            yield message
