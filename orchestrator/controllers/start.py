"""Starts every controller as a task of the control plane."""

from __future__ import annotations

import asyncio

from orchestrator.controllers.benchmarks import BenchmarkController
from orchestrator.controllers.config import ControllersConfig
from orchestrator.controllers.jobs import JobController
from orchestrator.controllers.loop import run_controller
from orchestrator.controllers.recompression import MIN_PAUSE_S, RecompressionController
from orchestrator.controllers.rollouts import RolloutController
from orchestrator.store import BlobStore, Database


def start_controllers(database: Database, blobs: BlobStore, config: ControllersConfig) -> list[asyncio.Task[None]]:
    """The tasks; cancel and await them to stop. The one of jobs ends its drivers before it ends itself."""
    del blobs  # nothing here reads bytes; kept for controllers that will
    rollouts = RolloutController(database)
    benchmarks = BenchmarkController(database, config)
    recompression = RecompressionController(database)
    tick_s = config.tick_s
    loops = {
        "rollout": run_controller("rollout", database, rollouts.reconcile, tick_s=tick_s),
        "benchmark": run_controller("benchmark", database, benchmarks.reconcile, tick_s=tick_s),
        "recompression": run_controller(
            "recompression", database, recompression.reconcile, tick_s=tick_s, min_pause_s=MIN_PAUSE_S
        ),
        "job": _run_jobs(database, config),
    }
    return [asyncio.create_task(loop, name=f"{name}-controller") for name, loop in loops.items()]


async def _run_jobs(database: Database, config: ControllersConfig) -> None:
    controller = JobController(database, config)
    try:
        await run_controller("job", database, controller.reconcile, tick_s=config.tick_s)
    finally:
        await controller.close()
