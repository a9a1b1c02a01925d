"""Published models, and what has been stated about them."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from orchestrator.records import PublishedModel
from orchestrator.store import schema
from orchestrator.store.table import RecordTable
from protos import model_pb2


class Models(RecordTable[PublishedModel]):
    table = schema.models
    kind = "model"
    key = schema.models.c.digest
    newest_first = schema.models.c.published_at_ms
    record_type = PublishedModel

    def columns(self, record: PublishedModel) -> Mapping[str, object]:
        return {
            "digest": record.digest,
            "name": record.name,
            "job_id": record.job_id,
            "published_at_ms": record.published_at_ms,
        }

    def put_statement(self, digest: str, model_digest: str, body: bytes) -> None:
        """Keep the serialised Statement `body`, whose SHA-256 is `digest`."""
        row = insert(schema.statements).values(digest=digest, model_digest=model_digest, body=body)
        self.connection.execute(row.on_conflict_do_nothing())

    def statements(self, model_digest: str) -> list[model_pb2.Statement]:
        """All that was stated about a model, the oldest first."""
        table = schema.statements.c
        query = select(table.body).where(table.model_digest == model_digest).order_by(table.digest)
        statements = [model_pb2.Statement.FromString(row.body) for row in self.connection.execute(query)]
        return sorted(statements, key=lambda statement: statement.issued_at_ms)

    def list(self, *, name: str = "", job_id: str = "", limit: int = 0) -> list[PublishedModel]:
        """Newest first."""
        query = select(self.table)
        if name:
            query = query.where(self.table.c.name == name)
        if job_id:
            query = query.where(self.table.c.job_id == job_id)
        return self._select(query, limit)
