"""One transaction, or one consistent view, of everything the control plane keeps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from sqlalchemy import Connection, insert, select

from orchestrator.records import Event
from orchestrator.store import events, schema
from orchestrator.store.benchmarks import Benchmarks
from orchestrator.store.devices import Devices
from orchestrator.store.jobs import Jobs, Stages
from orchestrator.store.models import Models
from orchestrator.store.resources import Decisions, Policies
from orchestrator.store.rollouts import Rollouts
from orchestrator.store.samples import Samples
from orchestrator.store.telemetry import Telemetry


class Session:
    """Handed to the functions that `Database.write` and `Database.read` run; not to be kept after they return."""

    def __init__(self, connection: Connection, now_ms: int) -> None:
        self.connection = connection
        self.now_ms = now_ms

    @cached_property
    def jobs(self) -> Jobs:
        return Jobs(self.connection, self.now_ms)

    @cached_property
    def stages(self) -> Stages:
        return Stages(self.connection, self.now_ms)

    @cached_property
    def models(self) -> Models:
        return Models(self.connection, self.now_ms)

    @cached_property
    def devices(self) -> Devices:
        return Devices(self.connection, self.now_ms)

    @cached_property
    def rollouts(self) -> Rollouts:
        return Rollouts(self.connection, self.now_ms)

    @cached_property
    def policies(self) -> Policies:
        return Policies(self.connection, self.now_ms)

    @cached_property
    def decisions(self) -> Decisions:
        return Decisions(self.connection, self.now_ms)

    @cached_property
    def benchmarks(self) -> Benchmarks:
        return Benchmarks(self.connection, self.now_ms)

    @cached_property
    def telemetry(self) -> Telemetry:
        return Telemetry(self.connection, self.now_ms)

    @cached_property
    def samples(self) -> Samples:
        return Samples(self.connection, self.now_ms)

    @property
    def revision(self) -> int:
        """The last revision that this view contains."""
        return events.last_revision(self.connection)

    def events(
        self, *, after: int, kinds: Sequence[str] = (), subject: str = "", limit: int = 256
    ) -> tuple[list[Event], int]:
        """See `read_events`."""
        return events.read_events(self.connection, after=after, kinds=kinds, subject=subject, limit=limit)

    def get_setting(self, key: str) -> str | None:
        return self.connection.execute(
            select(schema.settings.c.value).where(schema.settings.c.key == key)
        ).scalar_one_or_none()

    def put_setting(self, key: str, value: str) -> None:
        """Small facts of a controller, such as the hysteresis counts of a policy; not part of the event log."""
        row = insert(schema.settings).prefix_with("OR REPLACE").values(key=key, value=value)
        self.connection.execute(row)
