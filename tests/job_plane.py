"""A control plane with its controllers, for tests of jobs: drivers are real processes, Ray is real."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.runtime import load_model
from edge_agent.runtime.interface import Engine
from orchestrator.controllers.config import ControllersConfig
from orchestrator.controllers.driver_process import find_recorded
from orchestrator.controllers.start import start_controllers
from orchestrator.jobs.cluster import ClusterSize, EmbeddedCluster
from orchestrator.jobs.processes import ProcessIdentity
from orchestrator.records import Job, JobState
from orchestrator.services.server import ControlServers
from orchestrator.spec import parse_job
from orchestrator.store import BlobStore, Database
from orchestrator.working_dir import pack
from protos import model_pb2

WORKLOAD = Path(__file__).parent / "workloads" / "digits_workload"
JOB_DEADLINE_S = 300.0  # a machine may be busy; nothing here waits longer than it must

SPEC: dict[str, Any] = {
    "apiVersion": "espalier/v1",
    "kind": "CompressionJob",
    "metadata": {"name": "digits"},
    "spec": {
        "modelName": "digits",
        "seed": 7,
        "data": {"entrypoint": "workload:load_data"},
        "teacher": {"entrypoint": "workload:teacher", "epochs": 3, "batchSize": 32, "learningRate": 0.1},
        "student": {"entrypoint": "workload:student", "epochs": 3, "batchSize": 32, "learningRate": 0.1},
        "candidates": [
            {"name": "int8", "quantize": {"scheme": "integer", "weightBits": 8}},
            {"name": "pow2-w4", "quantize": {"scheme": "power-of-two", "weightBits": 4}},
        ],
        "benchmark": {"warmup": 2, "runs": 20},
        "targets": [{"deviceClass": "gateway", "accuracyFloor": 0.5}],
    },
}


def spec(**changes: Any) -> str:
    """The job above as YAML (JSON is YAML); a change to a mapping is merged into it."""
    document = json.loads(json.dumps(SPEC))
    for key, value in changes.items():
        before = document["spec"].get(key)
        document["spec"][key] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return json.dumps(document)


@dataclass
class JobPlane:
    database: Database
    blobs: BlobStore
    config: ControllersConfig
    operators_address: str
    agents_address: str = ""

    async def submit(self, spec_yaml: str, *, working_dir: Path = WORKLOAD, **fields: Any) -> str:
        archive = pack(working_dir).archive
        digest = self.put_blob(archive)
        name = parse_job(spec_yaml).name
        job_id = f"{name}-{hashlib.sha256(spec_yaml.encode() + repr(fields).encode()).hexdigest()[:8]}"
        job = Job(id=job_id, name=name, spec_yaml=spec_yaml, working_dir_digest=digest, state=JobState.QUEUED, **fields)
        await self.database.write(lambda session: session.jobs.put(job))
        return job_id

    def put_blob(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        upload = self.blobs.begin(digest, len(content), 0)
        if upload is not None:
            with upload:
                upload.write(content)
                upload.finish()
        return digest

    async def job(self, job_id: str) -> Job:
        return await self.database.read(lambda session: session.jobs.get(job_id))

    async def stages(self, job_id: str) -> list[str]:
        """Names of the stages that this job made, in order; a name is there as often as it was run."""
        stages = await self.database.read(lambda session: session.stages.list(job_id=job_id))
        return [stage.name for stage in stages]

    async def until(self, job_id: str, holds: Callable[[Job], bool], deadline_s: float = JOB_DEADLINE_S) -> Job:
        """The job once `holds` is true of it, or once it has ended."""
        async with asyncio.timeout(deadline_s):
            while True:
                job = await self.job(job_id)
                if holds(job) or job.state.is_terminal:
                    return job
                await asyncio.sleep(0.05)

    async def until_stage(self, job_id: str, name: str, times: int = 1) -> None:
        """Once the outputs of so many stages of this name are kept."""
        async with asyncio.timeout(JOB_DEADLINE_S):
            while (await self.stages(job_id)).count(name) < times:
                job = await self.job(job_id)
                assert not job.state.is_terminal, f"{job.state.value}: {job.message}\n{self.log(job_id)}"
                await asyncio.sleep(0.02)

    async def end_of(self, job_id: str, deadline_s: float = JOB_DEADLINE_S) -> Job:
        return await self.until(job_id, lambda job: job.state.is_terminal, deadline_s)

    def driver(self, job_id: str) -> ProcessIdentity | None:
        return next(
            (found.record.process for found in find_recorded(self.config) if found.record.job_id == job_id), None
        )

    def log(self, job_id: str) -> str:
        path = self.config.data_dir / "jobs" / job_id / "driver.log"
        return path.read_text() if path.exists() else ""

    async def statements(self, model_digest: str) -> list[model_pb2.Statement]:
        return await self.database.read(lambda session: session.models.statements(model_digest))

    def blob(self, digest: str) -> bytes:
        return self.blobs.get_bytes(digest, 64 << 20)

    def engine(self, model_digest: str) -> Engine:
        """The engine a device would run."""
        return load_model(self.blob(model_digest), lambda sha256: self.blob(sha256.hex()))


@asynccontextmanager
async def job_plane(data_dir: Path, **config: Any) -> AsyncIterator[JobPlane]:
    """Database, blobs, servers and controllers in this process; drivers and Ray are processes of their own."""
    database = await Database.open(data_dir / "control.db")
    blobs = BlobStore(data_dir / "blobs")
    servers = ControlServers(database, blobs, observe=lambda *_: None)
    agents_port, port = await servers.start("127.0.0.1:0", "127.0.0.1:0")
    settings = ControllersConfig(
        data_dir=data_dir, operator_address=f"127.0.0.1:{port}", tick_s=0.1, restart_backoff_s=0.1, **config
    )
    controllers = start_controllers(database, blobs, settings)
    try:
        yield JobPlane(database, blobs, settings, settings.operator_address, f"127.0.0.1:{agents_port}")
    finally:
        for task in controllers:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*controllers, return_exceptions=True)
        await servers.stop(0.2)
        await database.close()


def small_cluster(data_dir: Path) -> EmbeddedCluster:
    return EmbeddedCluster(data_dir, ClusterSize(cpus=2, object_store_bytes=80 << 20))
