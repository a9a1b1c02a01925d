"""Jobs, as operators see them."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import AsyncIterator

from orchestrator import convert
from orchestrator.errors import ConflictError, InvalidRequestError
from orchestrator.records import Event, Job, JobState
from orchestrator.services import limits
from orchestrator.services.context import Context
from orchestrator.services.watching import checked_id, list_limit, watch
from orchestrator.spec import parse_job
from orchestrator.store import BlobStore, Database, Session
from orchestrator.store.codec import decode
from protos import operator_pb2, operator_pb2_grpc

WORKING_DIR_BYTES = 256 << 20


def render_job(session: Session, job: Job) -> operator_pb2.Job:
    return convert.job(job, session.stages.list(job_id=job.id))


class JobsService(operator_pb2_grpc.JobsServicer):
    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    async def Submit(self, request: operator_pb2.SubmitJobRequest, context: Context) -> operator_pb2.Job:  # noqa: N802
        limits.check_text("spec_yaml", request.spec_yaml, limits.SPEC_BYTES, required=True)
        limits.check_text("client_request_id", request.client_request_id, 128)
        spec = parse_job(request.spec_yaml)
        digest = limits.check_digest("working_dir_sha256", request.working_dir_sha256)
        size = await self._blobs.size_async(digest)
        if size is None:
            raise ConflictError(f"the working directory, blob {digest}, is not here: put it first")
        if size > WORKING_DIR_BYTES:
            raise InvalidRequestError(f"the working directory has {size} bytes, more than {WORKING_DIR_BYTES}")

        def write(session: Session) -> operator_pb2.Job:
            if request.client_request_id:
                earlier = session.jobs.find_by_request(request.client_request_id)
                if earlier is not None:
                    return render_job(session, earlier)
            job = Job(
                id=f"{spec.name[:50]}-{uuid.uuid4().hex[:8]}",  # ids have at most 64 characters
                name=spec.name,
                spec_yaml=request.spec_yaml,
                working_dir_digest=digest,
                state=JobState.QUEUED,
                created_at_ms=session.now_ms,
                updated_at_ms=session.now_ms,
            )
            session.jobs.put_submitted(job, request.client_request_id)
            return render_job(session, job)

        return await self._database.write(write)

    async def List(self, request: operator_pb2.ListRequest, context: Context) -> operator_pb2.JobList:  # noqa: N802
        limit = list_limit(request)

        def read(session: Session) -> operator_pb2.JobList:
            jobs = [render_job(session, job) for job in session.jobs.list(limit=limit)]
            return operator_pb2.JobList(jobs=jobs, revision=session.revision)

        return await self._database.read(read)

    async def Get(self, request: operator_pb2.GetRequest, context: Context) -> operator_pb2.Job:  # noqa: N802
        job_id = checked_id(request)
        return await self._database.read(lambda session: render_job(session, session.jobs.get(job_id)))

    async def Watch(  # noqa: N802
        self, request: operator_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[operator_pb2.JobEvent]:
        def render(session: Session, event: Event) -> list[operator_pb2.JobEvent]:
            job = render_job(session, decode(Job, event.snapshot))
            return [operator_pb2.JobEvent(revision=event.revision, job=job)]

        async for message in watch(self._database, "job", request, context, render):
            yield message

    async def Cancel(self, request: operator_pb2.GetRequest, context: Context) -> operator_pb2.Job:  # noqa: N802
        job_id = checked_id(request)

        def write(session: Session) -> operator_pb2.Job:
            job = session.jobs.get(job_id)
            if job.state is JobState.CANCELLED or job.cancel_requested:
                return render_job(session, job)
            if job.state.is_terminal:
                raise ConflictError(f"job {job_id!r} has ended as {job.state.value}")
            cancelled = dataclasses.replace(job, cancel_requested=True, updated_at_ms=session.now_ms)
            if job.state is JobState.QUEUED:  # no driver has it yet
                cancelled = dataclasses.replace(
                    cancelled, state=JobState.CANCELLED, message="cancelled before it began"
                )
            session.jobs.put(cancelled)
            return render_job(session, cancelled)

        return await self._database.write(write)
