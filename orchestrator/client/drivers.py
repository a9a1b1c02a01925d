"""What a job's driver asks for; every call may be repeated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, cast

from orchestrator.client.connection import Connection
from orchestrator.client.digests import Digest, sha256_of
from orchestrator.client.watching import follow
from protos import model_pb2, operator_pb2_grpc
from protos import operator_pb2 as pb

PUBLISH_DEADLINE_S = 60.0


class Drivers:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def _stub(self) -> Any:
        return self._connection.stub(operator_pb2_grpc.DriversStub)

    async def get_job(self, job_id: str) -> pb.DriverJob:
        return cast(pb.DriverJob, await self._connection.call(self._stub.GetJob, pb.GetRequest(id=job_id)))

    async def get_stage(self, key_sha256: Digest) -> pb.Stage | None:
        """What a stage with these inputs made, None where there has been none or its outputs are gone."""
        request = pb.StageKey(key_sha256=sha256_of(key_sha256))
        stage: pb.Stage = await self._connection.call(self._stub.GetStage, request)
        return stage if stage.found else None

    async def put_stage(
        self,
        key_sha256: Digest,
        *,
        name: str,
        job_id: str,
        outputs: Mapping[str, model_pb2.BlobRef],
        metrics_json: str = "{}",
        duration_s: float = 0.0,
    ) -> pb.Stage:
        """Record what a stage made, whose outputs have been put; where another was first, its outputs count."""
        request = pb.Stage(
            key_sha256=sha256_of(key_sha256),
            name=name,
            job_id=job_id,
            outputs=[pb.BlobEntry(name=output, blob=blob) for output, blob in outputs.items()],
            metrics_json=metrics_json,
            duration_s=duration_s,
        )
        return cast(pb.Stage, await self._connection.call(self._stub.PutStage, request))

    async def report_progress(
        self,
        job_id: str,
        *,
        attempt: int,
        stage: str,
        progress: float,
        message: str = "",
        candidates: Iterable[pb.Candidate] = (),
    ) -> bool:
        """Say how far the job is; whether it has been asked to stop.

        Raises:
            FencedError: a newer attempt drives this job.
        """
        request = pb.ProgressReport(
            job_id=job_id, attempt=attempt, stage=stage, progress=progress, message=message, candidates=candidates
        )
        answer: pb.ProgressResponse = await self._connection.call(self._stub.ReportProgress, request)
        return answer.cancel_requested

    async def request_benchmark(
        self,
        job_id: str,
        *,
        device_class: str,
        model: model_pb2.BlobRef,
        warmup: int = 20,
        runs: int = 200,
        devices: int = 1,
    ) -> pb.Benchmark:
        """Ask devices of a class to measure a model; equal orders of a job are one."""
        request = pb.BenchmarkOrder(
            job_id=job_id, device_class=device_class, model=model, warmup=warmup, runs=runs, devices=devices
        )
        return cast(pb.Benchmark, await self._connection.call(self._stub.RequestBenchmark, request))

    async def get_benchmark(self, benchmark_id: str) -> pb.Benchmark:
        return cast(pb.Benchmark, await self._connection.call(self._stub.GetBenchmark, pb.GetRequest(id=benchmark_id)))

    def watch_benchmarks(self, *, from_revision: int = 0, id: str = "") -> AsyncIterator[pb.BenchmarkEvent]:
        return follow(self._connection, lambda: self._stub.WatchBenchmarks, from_revision, id)

    async def wait_for_benchmark(self, benchmark_id: str) -> pb.Benchmark:
        """Wait until every device that was asked has answered; set a timeout around it."""
        jobs = self._connection.stub(operator_pb2_grpc.JobsStub)
        revision = (await self._connection.call(jobs.List, pb.ListRequest(limit=1))).revision
        benchmark = await self.get_benchmark(benchmark_id)
        if not benchmark.done:
            async for event in self.watch_benchmarks(from_revision=revision, id=benchmark_id):
                benchmark = event.benchmark
                if benchmark.done:
                    break
        return benchmark

    async def publish_model(
        self,
        job_id: str,
        *,
        model: model_pb2.BlobRef,
        blobs: Iterable[model_pb2.BlobRef],
        statements: Iterable[model_pb2.BlobRef] = (),
    ) -> pb.PublishedModel:
        """Record a model, all of whose blobs have been put; again with more statements to add them."""
        request = pb.PublishModelRequest(job_id=job_id, model=model, blobs=blobs, statements=statements)
        answer = await self._connection.call(self._stub.PublishModel, request, PUBLISH_DEADLINE_S)
        return cast(pb.PublishedModel, answer)

    async def list_samples(self, job_id: str, *, device_ids: Iterable[str] = ()) -> AsyncIterator[pb.StoredSample]:
        """Samples that this job may train on, all of them, in the order in which they came."""
        wanted, after_id = list(device_ids), 0
        while True:
            request = pb.ListSamplesRequest(job_id=job_id, device_ids=wanted, after_id=after_id)
            page: pb.SampleList = await self._connection.call(self._stub.ListSamples, request)
            if not page.samples:
                return
            for sample in page.samples:
                yield sample
            after_id = page.samples[-1].id

    async def finish_job(
        self,
        job_id: str,
        *,
        attempt: int,
        state: pb.JobState,
        message: str = "",
        candidates: Iterable[pb.Candidate] = (),
        chosen: Iterable[pb.ClassModel] = (),
    ) -> pb.Job:
        request = pb.FinishJobRequest(
            job_id=job_id, attempt=attempt, state=state, message=message, candidates=candidates, chosen=chosen
        )
        return cast(pb.Job, await self._connection.call(self._stub.FinishJob, request))
