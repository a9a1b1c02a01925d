"""Controllers, both servers and real agents in one process: rollouts and recompression as devices live through them.

The loop without training: a job's driver is the one part that is not here; what it would publish is put by the test.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edge_agent.runtime import load_model
from edge_agent.runtime.interface import Engine
from orchestrator.controllers import ControllersConfig, start_rollout
from orchestrator.controllers.loop import run_controller
from orchestrator.controllers.recompression import RecompressionController
from orchestrator.controllers.rollouts import RolloutController
from orchestrator.policy.recompression import is_same, replay
from orchestrator.records import (
    ClassModel,
    Decision,
    Job,
    JobState,
    Policy,
    PublishedModel,
    Rollout,
    RolloutState,
    RolloutTerms,
)
from orchestrator.services.fleet import FleetTimes
from orchestrator.services.server import ControlServers
from orchestrator.store import BlobStore, Database
from protos import model_pb2
from tests.agents import Application, agent_config, running_agent
from tests.models import BuiltModel, linear_model

TERMS = RolloutTerms(min_pairs=30, probation_timeout_s=60.0, slower_ratio=20.0)
JOB = """\
apiVersion: espalier/v1
kind: CompressionJob
metadata: {name: digits}
spec:
  modelName: digits
  data: {entrypoint: "workload:load_data"}
  teacher: {entrypoint: "workload:teacher"}
  student: {entrypoint: "workload:student"}
  candidates: [{name: int8}]
  targets: [{deviceClass: "*"}]
"""
POLICY = """\
apiVersion: espalier/v1
kind: RecompressionPolicy
metadata: {name: keep}
spec:
  modelName: digits
  triggers: {accuracy: {floor: 0.8, minLabelled: 50, windowS: 30}}
  samples: {minimum: 20, perDevice: 60}
  hysteresis: {consecutive: 2}
"""


@dataclass
class Plane:
    database: Database
    blobs: BlobStore
    agents_address: str

    async def publish(self, built: BuiltModel, *, job_id: str = "") -> str:
        for data in built.files.values():
            await asyncio.to_thread(self.blobs.put_bytes, data)
        lineage = model_pb2.Statement(lineage=model_pb2.Lineage(student_sha256=bytes(32)))
        record = PublishedModel(
            digest=built.ref.digest,
            name="digits",
            size_bytes=len(built.data),
            file_bytes=len(built.data),
            published_at_ms=self.database.now_ms(),
            job_id=job_id,
        )

        def write(session) -> None:  # type: ignore[no-untyped-def]
            session.models.put(record)
            session.models.put_statement("e" * 64, record.digest, lineage.SerializeToString())

        await self.database.write(write)
        return record.digest

    async def roll_out(self, digest: str, requester: str | None = None) -> str:
        models = (ClassModel(device_class="*", model_digest=digest),)
        rollout = await self.database.write(
            lambda session: start_rollout(session, models=models, terms=TERMS, requester=requester)
        )
        return rollout.id

    async def ended(self, rollout_id: str, timeout_s: float = 40.0) -> Rollout:
        async def look() -> Rollout | None:
            rollout = await self.database.read(lambda session: session.rollouts.get(rollout_id))
            return rollout if rollout.state.is_terminal else None

        return await self.until(look, timeout_s)

    async def until(self, look: Callable[[], Awaitable[object]], timeout_s: float = 40.0):  # type: ignore[no-untyped-def]
        async with asyncio.timeout(timeout_s):
            while True:
                seen = self.database.revision
                if found := await look():
                    return found
                await self.database.wait_for_revision(seen, timeout_s=0.2)


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    database = await Database.open(tmp_path / "control.db")
    blobs = BlobStore(tmp_path / "blobs")
    servers = ControlServers(
        database, blobs, observe=lambda *_: None, times=FleetTimes(min_sync_s=0.5), liveness_flush_s=0.2
    )
    port, _ = await servers.start("127.0.0.1:0", "127.0.0.1:0")
    config = ControllersConfig(data_dir=tmp_path, operator_address="127.0.0.1:1", tick_s=0.2)
    controllers = [RolloutController(database), RecompressionController(database)]
    tasks = [
        asyncio.create_task(run_controller("test", database, one.reconcile, tick_s=config.tick_s))
        for one in controllers
    ]
    try:
        yield Plane(database, blobs, f"127.0.0.1:{port}")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await servers.stop(0.5)
        await database.close()


def engine_of(built: BuiltModel) -> Engine:
    return load_model(built.data, lambda sha256: built.blobs[sha256.hex()], path="reference")


class World:
    """Applications that send random images and label them as some model would answer: that model is always right."""

    def __init__(self, truth: BuiltModel) -> None:
        self.truth = engine_of(truth)
        self._rng = np.random.default_rng(5)
        self._count = 0

    async def live(self, address: str) -> None:
        async with Application(address) as application:
            while True:
                self._count += 1
                image = self._rng.integers(0, 256, 16, np.uint8).tobytes()
                request_id = f"r{self._count}"
                await application.infer(image, request_id=request_id)
                label = int(np.argmax(np.frombuffer(self.truth.infer_raw(image), np.int8)))
                await application.label(request_id, label)
                await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def devices(plane: Plane, folder: Path, world: World, *names: str) -> AsyncIterator[None]:
    """Agents with these names, each with an application once it serves."""
    async with contextlib.AsyncExitStack() as stack:
        agents = [
            await stack.enter_async_context(
                running_agent(
                    agent_config(folder / name, plane.agents_address, device__id=name, samples__consent="true")
                )
            )
            for name in names
        ]

        async def when_serving(name: str, address: str) -> None:
            async def serves() -> object:
                device = await plane.database.read(lambda session: session.devices.find(name))
                return device is not None and device.running_digest

            await plane.until(serves)
            await world.live(address)

        tasks = [
            asyncio.create_task(when_serving(name, agent.server.address))
            for name, agent in zip(names, agents, strict=True)
        ]

        async def known() -> bool:
            return len(await plane.database.read(lambda session: session.devices.list())) == len(names)

        await plane.until(known)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    raise result


async def test_a_first_model_then_a_better_one_reach_every_device(plane: Plane, tmp_path: Path) -> None:
    first, better = linear_model(1), linear_model(2)
    world = World(better)
    first_digest, better_digest = await plane.publish(first), await plane.publish(better)
    async with devices(plane, tmp_path, world, "cam-a", "cam-b", "cam-c"):
        began = await plane.ended(await plane.roll_out(first_digest))
        assert (began.state, began.message) == (RolloutState.SUCCEEDED, "3 of 3 devices have the model")
        improved = await plane.ended(await plane.roll_out(better_digest, "cam-b"))
        assert improved.state is RolloutState.SUCCEEDED, improved.message
        assert [wave.name for wave in improved.waves] == ["requester", "healthy", "rest"]
        assert "better: accuracy +" in improved.waves[0].devices[0].verdict
        running = await plane.database.read(lambda session: [d.running_digest for d in session.devices.list()])
        assert running == [better_digest] * 3


async def test_a_worse_model_is_taken_back_from_the_only_device_it_reached(plane: Plane, tmp_path: Path) -> None:
    good, worse = linear_model(3), linear_model(4)
    world = World(good)
    good_digest, worse_digest = await plane.publish(good), await plane.publish(worse)
    async with devices(plane, tmp_path, world, "cam-a", "cam-b"):
        await plane.ended(await plane.roll_out(good_digest))
        taken_back = await plane.ended(await plane.roll_out(worse_digest, "cam-a"))
        assert taken_back.state is RolloutState.ROLLED_BACK
        assert "worse" in taken_back.message

        async def restored() -> bool:
            found = await plane.database.read(lambda session: session.devices.list())
            return all(
                d.running_digest == good_digest
                and d.assignment is not None
                and d.assignment.model_digest == good_digest
                for d in found
            )

        await plane.until(restored)
        generations = await plane.database.read(
            lambda session: {d.id: d.assignment.generation for d in session.devices.list() if d.assignment}
        )
        assert generations == {"cam-a": 3, "cam-b": 1}


async def test_a_model_that_is_often_wrong_brings_samples_in_and_a_job(plane: Plane, tmp_path: Path) -> None:
    running, truth = linear_model(5), linear_model(6)
    job = Job(id="digits-1", name="digits", spec_yaml=JOB, working_dir_digest="d" * 64, state=JobState.SUCCEEDED)
    await plane.database.write(lambda session: session.jobs.put(job))
    digest = await plane.publish(running, job_id=job.id)
    async with devices(plane, tmp_path, World(truth), "cam-a"):
        await plane.ended(await plane.roll_out(digest))
        await plane.database.write(lambda session: session.policies.put(Policy(name="keep", spec_yaml=POLICY)))

        async def decided() -> list[Decision]:
            return await plane.database.read(lambda session: session.decisions.list())

        (decision,) = await plane.until(decided)
        assert (decision.device_id, decision.model_digest, decision.action) == ("cam-a", digest, "distill_again")
        assert is_same(decision, replay(decision))
        repair = await plane.database.read(lambda session: session.jobs.get(decision.job_id))
        assert (repair.parent_job_id, repair.sample_device_ids) == ("digits-1", ("cam-a",))
        held = await plane.database.read(lambda session: session.samples.count("cam-a", model_digest=digest))
        assert 20 <= held <= 60
