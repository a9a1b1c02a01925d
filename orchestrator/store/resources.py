"""Policies and the decisions that were made by them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from sqlalchemy import select

from orchestrator.records import Decision, Policy
from orchestrator.store import schema
from orchestrator.store.table import RecordTable


class Policies(RecordTable[Policy]):
    table = schema.policies
    kind = "policy"
    key = schema.policies.c.name
    newest_first = schema.policies.c.revision
    record_type = Policy

    def columns(self, record: Policy) -> Mapping[str, object]:
        return {"name": record.name, "deleted": record.deleted}

    def list(self, *, limit: int = 0) -> list[Policy]:
        """Those in force, the last changed first."""
        return self._select(select(self.table).where(self.table.c.deleted.is_(False)), limit)

    def delete(self, name: str) -> Policy:
        """Take a policy out of force; it stays readable for the decisions that were made by it."""
        policy = dataclasses.replace(self.get(name), deleted=True, updated_at_ms=self.now_ms)
        self.put(policy)
        return policy


class Decisions(RecordTable[Decision]):
    table = schema.decisions
    kind = "decision"
    key = schema.decisions.c.id
    newest_first = schema.decisions.c.decided_at_ms
    record_type = Decision

    def columns(self, record: Decision) -> Mapping[str, object]:
        return {
            "id": record.id,
            "policy": record.policy,
            "device_id": record.device_id,
            "job_id": record.job_id,
            "rollout_id": record.rollout_id,
            "outcome": record.outcome,
            "decided_at_ms": record.decided_at_ms,
        }

    def list(
        self,
        *,
        policy: str = "",
        device_id: str = "",
        job_id: str = "",
        outcome: str = "",
        since_ms: int = 0,
        limit: int = 0,
    ) -> list[Decision]:
        """Newest first; of every policy, device, job and outcome where none is named."""
        query = select(self.table).where(self.table.c.decided_at_ms >= since_ms)
        for column, wanted in (
            (self.table.c.policy, policy),
            (self.table.c.device_id, device_id),
            (self.table.c.job_id, job_id),
            (self.table.c.outcome, outcome),
        ):
            if wanted:
                query = query.where(column == wanted)
        return self._select(query, limit)
