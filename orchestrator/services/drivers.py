"""What a job's driver and its workers need. A driver that an attempt has overtaken is told to stop."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator, Iterable

from orchestrator import convert
from orchestrator.errors import ConflictError, FencedError, InvalidRequestError
from orchestrator.records import Benchmark, Candidate, ClassModel, Event, Job, JobState, Search, Stage, StageOutput
from orchestrator.services import limits
from orchestrator.services.context import Context
from orchestrator.services.jobs import render_job
from orchestrator.services.models import publish_model
from orchestrator.services.watching import checked_id, watch
from orchestrator.store import BlobStore, Database, Session
from orchestrator.store.blobs import BLOB_BYTES_LIMIT
from orchestrator.store.codec import decode
from protos import operator_pb2, operator_pb2_grpc

CANDIDATES = 64
TRIALS = 500
SAMPLES_PER_PAGE = 256
SAMPLES_PAGE_BYTES = 16 << 20


class DriversService(operator_pb2_grpc.DriversServicer):
    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    async def GetJob(self, request: operator_pb2.GetRequest, context: Context) -> operator_pb2.DriverJob:  # noqa: N802
        job_id = checked_id(request)
        return await self._database.read(lambda session: convert.driver_job(session.jobs.get(job_id)))

    async def GetStage(self, request: operator_pb2.StageKey, context: Context) -> operator_pb2.Stage:  # noqa: N802
        key = limits.check_digest("key_sha256", request.key_sha256)
        stage = await self._database.read(lambda session: session.stages.find(key))
        if stage is None or not await asyncio.to_thread(self._outputs_present, stage):
            return operator_pb2.Stage(key_sha256=request.key_sha256, found=False)
        return convert.stage(stage)

    async def PutStage(self, request: operator_pb2.Stage, context: Context) -> operator_pb2.Stage:  # noqa: N802
        stage = _checked_stage(request)
        if not await asyncio.to_thread(self._outputs_present, stage):
            raise ConflictError(f"an output of stage {stage.name!r} is not here: put the blob first")

        earlier = await self._database.read(lambda session: session.stages.find(stage.key))
        lost = earlier if earlier and not await asyncio.to_thread(self._outputs_present, earlier) else None

        def write(session: Session) -> Stage:
            fresh = dataclasses.replace(stage, created_at_ms=session.now_ms)
            kept = session.stages.put_once(fresh, instead_of=lost)
            job = session.jobs.find(stage.job_id)
            if job is not None and kept.job_id == job.id:
                session.jobs.put(dataclasses.replace(job, updated_at_ms=session.now_ms))  # tells those who watch it
            return kept

        return convert.stage(await self._database.write(write))

    async def ReportProgress(  # noqa: N802
        self, request: operator_pb2.ProgressReport, context: Context
    ) -> operator_pb2.ProgressResponse:
        limits.check_text("stage", request.stage, 128)
        limits.check_text("message", request.message, limits.MESSAGE_CHARS)
        limits.check_number("progress", request.progress, high=1.0)
        limits.check_number("teacher_accuracy", request.teacher_accuracy, high=1.0)
        candidates = _checked_candidates(request.candidates)
        search = _checked_search(request.search) if request.HasField("search") else None

        def write(session: Session) -> bool:
            job = _fenced(session, request.job_id, request.attempt)
            if job.state.is_terminal:
                raise ConflictError(f"job {job.id!r} has ended as {job.state.value}")
            changed = dataclasses.replace(
                job,
                state=JobState.RUNNING,
                stage=request.stage or job.stage,
                progress=max(job.progress, request.progress),
                message=request.message or job.message,
                candidates=candidates or job.candidates,
                teacher_accuracy=request.teacher_accuracy or job.teacher_accuracy,
                search=search or job.search,
                updated_at_ms=session.now_ms,
            )
            session.jobs.put(changed)
            return job.cancel_requested

        return operator_pb2.ProgressResponse(cancel_requested=await self._database.write(write))

    async def RequestBenchmark(  # noqa: N802
        self, request: operator_pb2.BenchmarkOrder, context: Context
    ) -> operator_pb2.Benchmark:
        limits.check_text("job_id", request.job_id, 64, required=True)
        limits.check_text("device_class", request.device_class, 63, required=True)
        digest, size = limits.check_blob("model", request.model, BLOB_BYTES_LIMIT)
        limits.check_number("warmup", request.warmup, high=100_000)
        limits.check_number("runs", request.runs, low=1, high=1_000_000)
        limits.check_number("devices", request.devices, high=1000)
        if await self._blobs.size_async(digest) != size:
            raise ConflictError(f"the model, blob {digest}, is not here: put it first")

        def write(session: Session) -> Benchmark:
            earlier = session.benchmarks.find_order(request.job_id, digest, request.device_class)
            if earlier is not None:
                return earlier
            benchmark = Benchmark(
                id=f"bench-{uuid.uuid4().hex[:12]}",
                job_id=request.job_id,
                device_class=request.device_class,
                model_digest=digest,
                model_size_bytes=size,
                warmup=request.warmup,
                runs=request.runs,
                devices=max(1, request.devices),
                requested_at_ms=session.now_ms,
            )
            session.benchmarks.put(benchmark)
            return benchmark

        return convert.benchmark(await self._database.write(write))

    async def GetBenchmark(  # noqa: N802
        self, request: operator_pb2.GetRequest, context: Context
    ) -> operator_pb2.Benchmark:
        benchmark_id = checked_id(request)
        return await self._database.read(lambda session: convert.benchmark(session.benchmarks.get(benchmark_id)))

    async def WatchBenchmarks(  # noqa: N802
        self, request: operator_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[operator_pb2.BenchmarkEvent]:
        def render(_: Session, event: Event) -> list[operator_pb2.BenchmarkEvent]:
            benchmark = convert.benchmark(decode(Benchmark, event.snapshot))
            return [operator_pb2.BenchmarkEvent(revision=event.revision, benchmark=benchmark)]

        async for message in watch(self._database, "benchmark", request, context, render):
            yield message

    async def PublishModel(  # noqa: N802
        self, request: operator_pb2.PublishModelRequest, context: Context
    ) -> operator_pb2.PublishedModel:
        return await publish_model(self._database, self._blobs, request)

    async def ListSamples(  # noqa: N802
        self, request: operator_pb2.ListSamplesRequest, context: Context
    ) -> operator_pb2.SampleList:
        limits.check_text("job_id", request.job_id, 64, required=True)
        limits.check_count("device_ids", request.device_ids, 1000)

        def read(session: Session) -> operator_pb2.SampleList:
            job = session.jobs.get(request.job_id)
            wanted = list(request.device_ids) or list(job.sample_device_ids)
            strangers = set(wanted) - set(job.sample_device_ids)
            if strangers:
                raise InvalidRequestError(f"job {job.id!r} may not train on samples of {', '.join(sorted(strangers))}")
            limit = min(request.limit or SAMPLES_PER_PAGE, SAMPLES_PER_PAGE)
            page = operator_pb2.SampleList()
            size = 0
            for stored in session.samples.list(wanted, after_id=request.after_id, limit=limit):
                size += stored.sample.ByteSize()
                if page.samples and size > SAMPLES_PAGE_BYTES:
                    break
                page.samples.add(id=stored.id, device_id=stored.device_id, sample=stored.sample)
            return page

        return await self._database.read(read)

    async def FinishJob(self, request: operator_pb2.FinishJobRequest, context: Context) -> operator_pb2.Job:  # noqa: N802
        limits.check_text("message", request.message, limits.MESSAGE_CHARS)
        state = convert.job_state_from(request.state)
        if state is None or not state.is_terminal:
            raise InvalidRequestError("a job finishes as succeeded, infeasible, failed or cancelled")
        candidates = _checked_candidates(request.candidates)
        chosen = tuple(
            ClassModel(
                device_class=limits.check_text("chosen.device_class", entry.device_class, 63, required=True),
                model_digest=limits.check_digest("chosen.model_sha256", entry.model_sha256),
            )
            for entry in request.chosen
        )

        def write(session: Session) -> operator_pb2.Job:
            job = _fenced(session, request.job_id, request.attempt)
            if job.state is state:
                return render_job(session, job)  # a repeat
            if job.state.is_terminal:
                raise ConflictError(f"job {job.id!r} has ended as {job.state.value}")
            for entry in chosen:
                session.models.get(entry.model_digest)
            finished = dataclasses.replace(
                job,
                state=state,
                progress=1.0 if state is JobState.SUCCEEDED else job.progress,
                message=request.message,
                candidates=candidates or job.candidates,
                chosen=chosen,
                updated_at_ms=session.now_ms,
            )
            session.jobs.put(finished)
            return render_job(session, finished)

        return await self._database.write(write)

    def _outputs_present(self, stage: Stage) -> bool:
        return all(self._blobs.size(output.digest) == output.size_bytes for output in stage.outputs)


def _fenced(session: Session, job_id: str, attempt: int) -> Job:
    job = session.jobs.get(job_id)
    if attempt < job.attempt:
        raise FencedError(f"attempt {attempt} at job {job_id!r} was replaced by attempt {job.attempt}")
    return job


def _checked_stage(request: operator_pb2.Stage) -> Stage:
    limits.check_text("name", request.name, 128, required=True)
    limits.check_text("job_id", request.job_id, 64)
    limits.check_text("metrics_json", request.metrics_json, limits.SPEC_BYTES)
    limits.check_number("duration_s", request.duration_s)
    limits.check_count("outputs", request.outputs, 4096)
    outputs = []
    for entry in request.outputs:
        digest, size = limits.check_blob("outputs.blob", entry.blob, BLOB_BYTES_LIMIT)
        name = limits.check_text("outputs.name", entry.name, 256, required=True)
        outputs.append(StageOutput(name=name, digest=digest, size_bytes=size))
    return Stage(
        key=limits.check_digest("key_sha256", request.key_sha256),
        name=request.name,
        job_id=request.job_id,
        outputs=tuple(outputs),
        metrics_json=request.metrics_json or "{}",
        duration_s=request.duration_s,
    )


def _checked_candidates(messages: Iterable[operator_pb2.Candidate]) -> tuple[Candidate, ...]:
    candidates = tuple(messages)
    limits.check_count("candidates", candidates, CANDIDATES)
    for message in candidates:
        limits.check_text("candidate.name", message.name, 128, required=True)
        limits.check_text("candidate.verdict", message.verdict, limits.MESSAGE_CHARS)
        limits.check_optional_digest("candidate.model_sha256", message.model_sha256)
        limits.check_number("candidate.accuracy", message.accuracy, high=1.0)
        limits.check_counter("candidate.model_bytes", message.model_bytes)
        limits.check_counter("candidate.peak_ram_bytes", message.peak_ram_bytes)
        limits.check_count("candidate.chosen_for", message.chosen_for, 256)
        for measurement in message.measurements:
            limits.check_measurement(measurement)
    return tuple(convert.candidate_from(message) for message in candidates)


def _checked_search(message: operator_pb2.Search) -> Search:
    limits.check_text("search.ended", message.ended, limits.MESSAGE_CHARS)
    limits.check_count("search.trials", message.trials, TRIALS)
    for trial in message.trials:
        limits.check_text("trial.name", trial.name, 128, required=True)
        limits.check_text("trial.stopped", trial.stopped, 1024)
        limits.check_number("trial.accuracy", trial.accuracy, high=1.0)
        limits.check_counter("trial.model_bytes", trial.model_bytes)
        limits.check_counter("trial.peak_ram_bytes", trial.peak_ram_bytes)
        limits.check_count("trial.latencies", trial.latencies, 64)
        for entry in trial.latencies:
            limits.check_text("trial.device_class", entry.device_class, 63, required=True)
            limits.check_number("trial.latency_p95_us", entry.latency_p95_us)
    return convert.search_from(message)
