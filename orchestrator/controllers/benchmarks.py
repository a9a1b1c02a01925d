"""Asks devices to measure candidates, and closes benchmarks that nobody answers."""

from __future__ import annotations

from orchestrator.controllers.config import ControllersConfig
from orchestrator.controllers.rollout_commands import EVERY_DEVICE
from orchestrator.policy.benchmarking import step_benchmark
from orchestrator.records import Benchmark
from orchestrator.store import Database, Session


class BenchmarkController:
    def __init__(self, database: Database, config: ControllersConfig) -> None:
        self._database = database
        self._config = config

    async def reconcile(self) -> None:
        if await self._database.read(self._changes):
            await self._database.write(self._carry_out)

    def _changes(self, session: Session) -> list[Benchmark]:
        opened = session.benchmarks.list(only_open=True)
        if not opened:
            return []
        devices = session.devices.list(limit=EVERY_DEVICE)
        stepped = [
            step_benchmark(
                benchmark,
                devices,
                session.now_ms,
                wait_s=self._config.benchmark_wait_s,
                timeout_s=self._config.benchmark_timeout_s,
            )
            for benchmark in opened
        ]
        return [after for before, after in zip(opened, stepped, strict=True) if after != before]

    def _carry_out(self, session: Session) -> None:
        for benchmark in self._changes(session):
            session.benchmarks.put(benchmark)
