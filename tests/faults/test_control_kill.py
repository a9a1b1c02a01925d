"""kill -9 of a real control plane at random moments: what it acknowledged is counted once, whatever it had in hand."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from orchestrator.client import Client
from orchestrator.errors import ConflictError
from orchestrator.store import Database
from tests.control_plane import Agent, records, until

START_DEADLINE_S = 60.0
RETRYABLE = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


class Process:
    """A control plane of its own, on the same ports each time it is started again."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.endpoints = dict.fromkeys(("agents", "operators", "http"), "127.0.0.1:0")
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        flags = [f"--{name}={self.endpoints[name]}" for name in ("agents", "operators", "http")]
        (self.data_dir / "endpoints.json").unlink(missing_ok=True)
        self.data_dir.mkdir(exist_ok=True)
        with (self.data_dir / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "orchestrator.main", "serve", "--data-dir", str(self.data_dir), *flags),
                stderr=log,
            )
        await until(self._is_ready, START_DEADLINE_S)
        found = json.loads((self.data_dir / "endpoints.json").read_text())
        self.endpoints = {name: found[name] for name in self.endpoints}

    async def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, (self.data_dir / "log").read_text()[-2000:]
        return (self.data_dir / "endpoints.json").exists()

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self._process.wait(), 30)


class Pusher:
    """A device that pushes windows until told to stop, and remembers what was acknowledged."""

    def __init__(self, process: Process, device_id: str, rng: random.Random) -> None:
        self._process = process
        self._device_id = device_id
        self._rng = rng
        self.acknowledged = 1
        """The number that comes next; everything before has been acknowledged."""
        self.sent = 1

    async def run(self, stop: asyncio.Event) -> None:
        async with Agent(self._process.endpoints["agents"], self._device_id) as agent:
            await self._until_answered(agent.sync)
            while not stop.is_set():
                # As a device does that may not know what arrived: some again, some new.
                count = self._rng.randint(1, 40)
                batch = records(self.acknowledged, count, requests=1)
                self.sent = max(self.sent, self.acknowledged + count)
                next_seq = await self._until_answered(lambda batch=batch: agent.push(batch))
                assert next_seq >= self.acknowledged, "the server went back behind what it had acknowledged"
                self.acknowledged = max(self.acknowledged, next_seq)

    async def _until_answered(self, call: Any) -> Any:
        async with asyncio.timeout(START_DEADLINE_S):
            while True:
                try:
                    return await call()
                except grpc.aio.AioRpcError as error:
                    if error.code() not in RETRYABLE:
                        raise
                    await asyncio.sleep(self._rng.uniform(0.0, 0.1))


async def torture(tmp_path: Path, *, kills: int, devices: int, seed: int) -> None:
    rng = random.Random(seed)
    process = Process(tmp_path / "data")
    await process.start()
    pushers = [Pusher(process, f"cam-{number}", random.Random(rng.random())) for number in range(devices)]
    stop = asyncio.Event()
    running = [asyncio.create_task(pusher.run(stop)) for pusher in pushers]
    try:
        for _ in range(kills):
            await asyncio.sleep(rng.uniform(0.05, 0.6))
            await process.kill()
            await process.start()
        await asyncio.sleep(0.3)
        stop.set()
        await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        assert await process.stop() == 0
    await check(tmp_path / "data" / "control.db", pushers)


async def check(path: Path, pushers: list[Pusher]) -> None:
    """Everything acknowledged is there once, and nothing that was never sent."""
    database = await Database.open(path)
    integrity = await database.read(
        lambda session: session.connection.exec_driver_sql("PRAGMA integrity_check").scalar()
    )
    totals = await database.read(lambda session: session.telemetry.window_totals())
    await database.close()
    assert integrity == "ok"
    counted = {entry.device_id: entry.requests for entry in totals}
    for pusher in pushers:
        assert pusher.acknowledged > 1
        assert counted[pusher._device_id] == pusher.acknowledged - 1
    print(f"{sum(counted.values())} windows acknowledged")


async def test_a_killed_server_loses_no_acknowledged_window_and_counts_none_twice(tmp_path: Path) -> None:
    await torture(tmp_path, kills=1, devices=4, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_many_kills_lose_nothing(tmp_path: Path) -> None:
    seed = int(os.environ.get("ESPALIER_TEST_SEED", "2"))
    await torture(tmp_path, kills=12, devices=6, seed=seed)


@pytest.mark.slow
async def test_a_second_control_plane_on_the_same_data_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    process = Process(tmp_path / "data")
    await process.start()
    second = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator.main", "serve", "--data-dir", str(process.data_dir)),
        *("--agents=127.0.0.1:0", "--operators=127.0.0.1:0", "--http=127.0.0.1:0"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(second.communicate(), START_DEADLINE_S)
    assert second.returncode == 2
    assert b"stop it first" in said
    await process.kill()
    await process.start()
    assert await process.stop() == 0


@pytest.mark.slow
async def test_an_upload_and_a_watch_go_on_through_a_kill(tmp_path: Path) -> None:
    process = Process(tmp_path / "data")
    await process.start()
    data = random.Random(3).randbytes(8_000_000)
    async with Client(process.endpoints["operators"], patience_s=START_DEADLINE_S) as client:
        listed = await client.policies.list()
        killed = asyncio.Event()

        def on_progress(share: float) -> None:
            if share > 0.4:
                killed.set()

        putting = asyncio.create_task(client.blobs.put(data, on_progress=on_progress))
        await killed.wait()
        await process.kill()
        await process.start()
        digest = await asyncio.wait_for(putting, START_DEADLINE_S)
        assert await client.blobs.get(digest) == data
        watching = client.policies.watch(from_revision=listed.revision)
        text = (
            "apiVersion: espalier/v1\nkind: RecompressionPolicy\nmetadata: {name: NAME}\n"
            "spec: {modelName: m, triggers: {accuracy: {floor: 0.8}}}\n"
        )
        for name in ("one", "two"):
            await client.policies.apply(text.replace("NAME", name))
            assert (await asyncio.wait_for(anext(watching), START_DEADLINE_S)).policy.name == name
            await process.kill()
            await process.start()
        with pytest.raises(ConflictError):
            await client.jobs.submit(_JOB, working_dir_sha256="ab" * 32)
        await watching.aclose()
    assert await process.stop() == 0


_JOB = (Path(__file__).parents[2] / "examples" / "digits" / "job.yaml").read_text()
