"""Benchmarks: which devices were asked to measure which model, and what they measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from sqlalchemy import insert, select

from orchestrator.errors import ConflictError
from orchestrator.records import Benchmark, Measurement
from orchestrator.store import schema
from orchestrator.store.table import RecordTable


class Benchmarks(RecordTable[Benchmark]):
    table = schema.benchmarks
    kind = "benchmark"
    key = schema.benchmarks.c.id
    newest_first = schema.benchmarks.c.revision
    record_type = Benchmark

    def columns(self, record: Benchmark) -> Mapping[str, object]:
        return {
            "id": record.id,
            "job_id": record.job_id,
            "device_class": record.device_class,
            "model_digest": record.model_digest,
            "done": record.done,
        }

    def find_order(self, job_id: str, model_digest: str, device_class: str) -> Benchmark | None:
        """The benchmark that an earlier, equal order made."""
        query = select(self.table).where(
            self.table.c.job_id == job_id,
            self.table.c.model_digest == model_digest,
            self.table.c.device_class == device_class,
        )
        found = self._select(query, 1)
        return found[0] if found else None

    def open_for(self, device_id: str) -> list[Benchmark]:
        """What this device has been asked for and has not answered yet, the oldest first."""
        asked = self.list(device_id=device_id, only_open=True)
        return [benchmark for benchmark in reversed(asked) if not self.has_result(benchmark.id, device_id)]

    def has_result(self, benchmark_id: str, device_id: str) -> bool:
        results = schema.benchmark_results.c
        query = select(results.device_id).where(results.benchmark_id == benchmark_id, results.device_id == device_id)
        return self.connection.execute(query).first() is not None

    def add_result(self, benchmark_id: str, device_id: str, result: Measurement | str) -> Benchmark:
        """Take what a device measured, or why it could not; a repeat changes nothing.

        Raises:
            NotFoundError: no such benchmark.
            ConflictError: this device was not asked.
        """
        benchmark = self.get(benchmark_id)
        if device_id not in benchmark.device_ids:
            raise ConflictError(f"device {device_id!r} was not asked for benchmark {benchmark_id!r}")
        if self.has_result(benchmark_id, device_id):
            return benchmark
        self.connection.execute(insert(schema.benchmark_results).values(benchmark_id=benchmark_id, device_id=device_id))
        if isinstance(result, str):
            benchmark = dataclasses.replace(benchmark, errors=(*benchmark.errors, f"{device_id}: {result}"))
        else:
            benchmark = dataclasses.replace(benchmark, measurements=(*benchmark.measurements, result))
        answered = len(benchmark.measurements) + len(benchmark.errors)
        if not benchmark.done:
            benchmark = dataclasses.replace(benchmark, done=answered >= len(benchmark.device_ids))
        self.put(benchmark)
        return benchmark

    def list(
        self, *, job_id: str = "", device_id: str = "", only_open: bool = False, limit: int = 0
    ) -> list[Benchmark]:
        """The last changed first; of every job and device where none is named."""
        query = select(self.table)
        if job_id:
            query = query.where(self.table.c.job_id == job_id)
        if only_open:
            query = query.where(self.table.c.done.is_(False))
        return [record for record in self._select(query, limit) if not device_id or device_id in record.device_ids]
