"""Rollouts."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import select, update

from orchestrator.records import Rollout, RolloutState
from orchestrator.store import schema
from orchestrator.store.table import RecordTable


class Rollouts(RecordTable[Rollout]):
    table = schema.rollouts
    kind = "rollout"
    key = schema.rollouts.c.id
    newest_first = schema.rollouts.c.created_at_ms
    record_type = Rollout

    def columns(self, record: Rollout) -> Mapping[str, object]:
        return {
            "id": record.id,
            "state": record.state.value,
            "model_name": record.model_name,
            "job_id": record.job_id,
            "decision_id": record.decision_id,
            "created_at_ms": record.created_at_ms,
        }

    def list(
        self, *, states: Collection[RolloutState] = (), job_id: str = "", decision_id: str = "", limit: int = 0
    ) -> list[Rollout]:
        """Newest first; of all states where none is named."""
        query = select(self.table)
        if states:
            query = query.where(self.table.c.state.in_([state.value for state in states]))
        if job_id:
            query = query.where(self.table.c.job_id == job_id)
        if decision_id:
            query = query.where(self.table.c.decision_id == decision_id)
        return self._select(query, limit)

    def find_by_request(self, client_request_id: str) -> Rollout | None:
        """The rollout that an earlier request with this id started."""
        found = self._select(select(self.table).where(self.table.c.client_request_id == client_request_id), 1)
        return found[0] if found else None

    def put_started(self, rollout: Rollout, client_request_id: str) -> int:
        """`put` of a rollout that a repeated request must find again."""
        revision = self.put(rollout)
        if client_request_id:
            row = update(self.table).where(self.table.c.id == rollout.id)
            self.connection.execute(row.values(client_request_id=client_request_id))
        return revision
