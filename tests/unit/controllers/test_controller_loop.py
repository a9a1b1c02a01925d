"""Controllers look when something is written, once a tick, and again after an error."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from orchestrator.controllers import ControllersConfig, start_controllers
from orchestrator.controllers.loop import run_controller
from orchestrator.records import JobState, Policy
from orchestrator.store import BlobStore
from tests.unit.controllers.control_records import Records


class Looks:
    """Counts looks; the first `failing` of them raise."""

    def __init__(self, failing: int = 0) -> None:
        self.count = 0
        self._failing = failing
        self._changed = asyncio.Event()

    async def __call__(self) -> None:
        self.count += 1
        self._changed.set()
        if self.count <= self._failing:
            raise RuntimeError("planned")

    async def reach(self, count: int, timeout_s: float = 10.0) -> None:
        async with asyncio.timeout(timeout_s):
            while self.count < count:
                self._changed.clear()
                await self._changed.wait()


@contextlib.asynccontextmanager
async def running(records: Records, looks: Callable[[], Awaitable[None]], tick_s: float):  # type: ignore[no-untyped-def]
    task = asyncio.create_task(run_controller("test", records.database, looks, tick_s=tick_s, min_pause_s=0.0))
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_write_wakes_it_long_before_the_tick(records: Records) -> None:
    looks = Looks()
    async with running(records, looks, tick_s=60.0):
        await looks.reach(1)
        began = time.monotonic()
        await records.do(lambda session: session.policies.put(Policy(name="p", spec_yaml="x")))
        await looks.reach(2)
        assert time.monotonic() - began < 5.0


async def test_without_a_write_it_looks_once_a_tick(records: Records) -> None:
    looks = Looks()
    async with running(records, looks, tick_s=0.01):
        await looks.reach(4)


async def test_an_error_ends_one_look_and_not_the_controller(
    records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    looks = Looks(failing=2)
    async with running(records, looks, tick_s=0.01):
        await looks.reach(4)
    assert "failed at a look (2 in a row)" in caplog.text


async def test_all_controllers_start_and_stop_and_end_their_drivers(records: Records, tmp_path: Path) -> None:
    """The real driver, which finds no control plane at that address, is started and ended again."""
    config = ControllersConfig(data_dir=tmp_path, operator_address="127.0.0.1:9", tick_s=0.05)
    await records.add_job()
    tasks = start_controllers(records.database, BlobStore(str(tmp_path / "blobs")), config)
    async with asyncio.timeout(20):
        while (await records.job()).state is not JobState.RUNNING:
            await records.database.wait_for_revision(records.database.revision, timeout_s=0.1)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    assert list((tmp_path / "jobs").glob("*/driver.json")) == []
