"""What every resource's repository shares: rows that hold a record, and one event for each change of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy import Column, Connection, Select, Table, select
from sqlalchemy.dialects.sqlite import insert

from orchestrator.errors import NotFoundError
from orchestrator.store.codec import decode, encode
from orchestrator.store.events import append_event

R = TypeVar("R")

LIST_LIMIT = 1000


class RecordTable(Generic[R]):
    """Rows of `table`, found by `key`; `kind` is what their events are called."""

    table: ClassVar[Table]
    kind: ClassVar[str]
    key: ClassVar[Column[str]]
    newest_first: ClassVar[Column[Any]]
    record_type: type[R]

    def __init__(self, connection: Connection, now_ms: int) -> None:
        self.connection = connection
        self.now_ms = now_ms

    def columns(self, record: R) -> Mapping[str, object]:
        """The values of the columns that rows are searched by, the key among them."""
        raise NotImplementedError

    def find(self, key: str) -> R | None:
        row = self.connection.execute(select(self.table).where(self.key == key)).one_or_none()
        return None if row is None else self._from_row(row._mapping)

    def get(self, key: str) -> R:
        """
        Raises:
            NotFoundError: there is none.
        """
        record = self.find(key)
        if record is None:
            raise NotFoundError(f"no {self.kind} {key!r} is known")
        return record

    def put(self, record: R) -> int:
        """Create or replace, and log it; the revision of the change."""
        return self._put(record, self.columns(record))

    def _put(self, record: R, columns: Mapping[str, object]) -> int:
        snapshot = encode(record)
        subject = str(columns[self.key.name])
        revision = append_event(self.connection, self.kind, subject, self.now_ms, snapshot)
        values = {**columns, "revision": revision, "record": snapshot}
        row = insert(self.table).values(values)
        changed = {name: value for name, value in values.items() if name != self.key.name}
        self.connection.execute(row.on_conflict_do_update(index_elements=[self.key], set_=changed))
        return revision

    def _select(self, query: Select[Any], limit: int) -> list[R]:
        newest = query.order_by(self.newest_first.desc(), self.key.desc()).limit(limit or LIST_LIMIT)
        return [self._from_row(row._mapping) for row in self.connection.execute(newest)]

    def _from_row(self, row: Mapping[Any, Any]) -> R:
        return decode(self.record_type, row["record"])
