"""Jobs, and the stages that they can take over from one another."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import select, update

from orchestrator.records import Job, JobState, Stage
from orchestrator.store import schema
from orchestrator.store.table import RecordTable


class Jobs(RecordTable[Job]):
    table = schema.jobs
    kind = "job"
    key = schema.jobs.c.id
    newest_first = schema.jobs.c.created_at_ms
    record_type = Job

    def columns(self, record: Job) -> Mapping[str, object]:
        return {
            "id": record.id,
            "state": record.state.value,
            "parent_job_id": record.parent_job_id,
            "decision_id": record.decision_id,
            "created_at_ms": record.created_at_ms,
        }

    def list(self, *, states: Collection[JobState] = (), decision_id: str = "", limit: int = 0) -> list[Job]:
        """Newest first; of all states where none is named."""
        query = select(self.table)
        if states:
            query = query.where(self.table.c.state.in_([state.value for state in states]))
        if decision_id:
            query = query.where(self.table.c.decision_id == decision_id)
        return self._select(query, limit)

    def find_by_request(self, client_request_id: str) -> Job | None:
        """The job that an earlier submission with this id made."""
        found = self._select(select(self.table).where(self.table.c.client_request_id == client_request_id), 1)
        return found[0] if found else None

    def put_submitted(self, job: Job, client_request_id: str) -> int:
        """`put` of a job that a repeated submission must find again."""
        revision = self.put(job)
        if client_request_id:
            row = update(self.table).where(self.table.c.id == job.id)
            self.connection.execute(row.values(client_request_id=client_request_id))
        return revision


class Stages(RecordTable[Stage]):
    table = schema.stages
    kind = "stage"
    key = schema.stages.c.key
    newest_first = schema.stages.c.created_at_ms
    record_type = Stage

    def columns(self, record: Stage) -> Mapping[str, object]:
        return {"key": record.key, "job_id": record.job_id, "created_at_ms": record.created_at_ms}

    def put_once(self, stage: Stage, *, instead_of: Stage | None = None) -> Stage:
        """Record what a stage made; where the same inputs were worked twice, the first outputs stay and count.

        Args:
            instead_of: the record whose outputs are known to be gone, and which this one shall replace.
        """
        existing = self.find(stage.key)
        if existing is not None and existing != instead_of:
            return existing
        self.put(stage)
        return stage

    def list(self, *, job_id: str, limit: int = 0) -> list[Stage]:
        """Stages that `job_id` made first, in the order in which it made them."""
        return self._select(select(self.table).where(self.table.c.job_id == job_id), limit)[::-1]
