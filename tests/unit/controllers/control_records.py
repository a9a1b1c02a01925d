"""Fills a real database with what controllers look at: models, devices, telemetry, jobs. Time is the test's own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edge_agent.sketch import LatencySketch
from orchestrator.records import (
    ActionReport,
    ActionState,
    Device,
    DeviceFacts,
    Job,
    JobState,
    PairCounts,
    PublishedModel,
)
from orchestrator.store import Database, Session
from protos import fleet_pb2, model_pb2

OLD, NEW, STUDENT = "a" * 64, "b" * 64, "5" * 64

JOB = """\
apiVersion: espalier/v1
kind: CompressionJob
metadata: {name: fashion}
spec:
  modelName: fashion
  data: {entrypoint: "workload:load_data"}
  teacher: {entrypoint: "workload:teacher"}
  student: {entrypoint: "workload:student", epochs: 9}
  candidates: [{name: int8}]
  targets: [{deviceClass: "*", accuracyFloor: 0.8}]
  rollout: {minPairs: 20, probationTimeoutS: 60, auto: true}
"""

POLICY = """\
apiVersion: espalier/v1
kind: RecompressionPolicy
metadata: {name: keep}
spec:
  modelName: fashion
  triggers:
    accuracy: {floor: 0.8, minLabelled: 50, windowS: 60}
    confidenceDrift: {distance: 0.3, minRequests: 200, windowS: 60}
  hysteresis: {consecutive: 2}
  cooldownS: 30
  samples: {minimum: 40, perDevice: 100, retentionS: 3600}
  repair: {epochs: 2}
"""

GOOD = PairCounts(pairs=300, agreements=230, both_correct=220, only_new_correct=60, only_old_correct=5, both_wrong=15)

T = TypeVar("T")


class Clock:
    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)


class Records:
    """A database with a clock that only moves when told."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self._seq = itertools.count(1)

    @classmethod
    async def open(cls, folder: Path) -> Records:
        clock = Clock()
        return cls(await Database.open(folder / "control.db", clock=clock), clock)

    async def do(self, work: Callable[[Session], T]) -> T:
        return await self.database.write(work)

    async def publish(self, digest: str, *, job_id: str = "", student: str = "") -> None:
        def write(session: Session) -> None:
            session.models.put(
                PublishedModel(
                    digest=digest,
                    name="fashion",
                    size_bytes=100,
                    file_bytes=50,
                    published_at_ms=session.now_ms,
                    job_id=job_id,
                )
            )
            if student:
                lineage = model_pb2.Lineage(student_sha256=bytes.fromhex(student))
                body = model_pb2.Statement(lineage=lineage).SerializeToString()
                session.models.put_statement("e" * 64, digest, body)

        await self.do(write)

    async def add_job(self, job_id: str = "fashion-1", **changes: object) -> Job:
        job = Job(**{"id": job_id, "name": "fashion", "spec_yaml": JOB, "working_dir_digest": "d" * 64,
                     "state": JobState.QUEUED, "created_at_ms": self.clock()} | changes)  # type: ignore[arg-type]  # fmt: skip
        await self.do(lambda session: session.jobs.put(job))
        return job

    async def job(self, job_id: str = "fashion-1") -> Job:
        return await self.database.read(lambda session: session.jobs.get(job_id))

    async def add_device(self, device_id: str, *, running: str = "", device_class: str = "gateway") -> None:
        """A device that has synced; with a model, one that it was given and has committed."""

        def write(session: Session) -> None:
            self._observe(session, device_id, device_class, "")
            if running:
                session.devices.assign(device_id, session.models.get(running))

        await self.do(write)
        if running:
            await self.report(device_id, ActionState.COMMITTED)

    async def report(self, device_id: str, state: ActionState, pairs: PairCounts | None = None) -> None:
        """The device says how far it is with what it was given last."""

        def write(session: Session) -> None:
            device = session.devices.get(device_id)
            assert device.assignment is not None
            session.devices.report(
                ActionReport(
                    action_id=device.assignment.action_id,
                    device_id=device_id,
                    generation=device.assignment.generation,
                    seq=next(self._seq),
                    state=state,
                    pairs=pairs,
                    at_ms=session.now_ms,
                )
            )
            running = device.assignment.model_digest if state is ActionState.COMMITTED else device.running_digest
            self._observe(session, device_id, device.facts.device_class, running)

        await self.do(write)

    async def device(self, device_id: str) -> Device:
        return await self.database.read(lambda session: session.devices.get(device_id))

    async def add_telemetry(
        self, device_id: str, *, labelled: int, correct: int, histogram: tuple[int, ...] = (), model: str = OLD
    ) -> None:
        requests = max(1, labelled, sum(histogram))
        sketch = LatencySketch()
        sketch.add(900.0, requests)
        window = fleet_pb2.Window(
            model_sha256=bytes.fromhex(model),
            start_ms=self.clock() - 1000,
            end_ms=self.clock(),
            requests=requests,
            labelled=labelled,
            labelled_correct=correct,
            engine_latency_us=sketch.to_proto(),
            request_latency_us=sketch.to_proto(),
            confidence_histogram=histogram or (0,) * 31 + (requests,),
        )
        seq = next(self._seq)
        await self.do(lambda session: session.telemetry.add_windows(device_id, "gateway", "spool", {seq: window}))

    async def add_samples(self, device_id: str, count: int, *, model: str = OLD) -> None:
        samples = [fleet_pb2.Sample(seq=n + 1, model_sha256=bytes.fromhex(model), raw=b"x") for n in range(count)]
        await self.do(lambda session: session.samples.add(device_id, samples))

    @staticmethod
    def _observe(session: Session, device_id: str, device_class: str, running: str) -> None:
        known = session.devices.find(device_id)
        session.devices.observe(
            device_id,
            DeviceFacts(device_class=device_class),
            accepted_generation=known.accepted_generation if known else 0,
            running_digest=running,
            samples_consent=True,
        )
