"""What a driver and its Ray workers know of the control plane: blobs and driver calls, as plain blocking functions.

Ray's workers are synchronous processes, so this is too; the asynchronous `orchestrator.client` is for operators. The
control plane may be restarted while a job runs: every call here is idempotent and is tried again for as long as
`patience_s`. Bytes are never believed: what is fetched is checked against its digest and a size cap.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from orchestrator.client.failures import RETRYABLE, error_of
from orchestrator.errors import (
    ConflictError,
    CorruptBlobError,
    FencedError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)
from orchestrator.jobs.stages import Blob, StageOutput, StageRecord
from protos import model_pb2, operator_pb2, operator_pb2_grpc

DEADLINE_S = 30.0
BLOB_DEADLINE_S = 600.0
CHUNK_BYTES = 1 << 20
MAX_BLOB_BYTES = 1 << 30
_SAMPLES_PER_CALL = 256
_MESSAGE_CHARACTERS = 2000

_OPTIONS = [
    ("grpc.enable_retries", 0),  # retried here, where it is known which calls are idempotent
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Where the control plane is and for which attempt of which job: all that a worker is told."""

    address: str
    job_id: str
    attempt: int
    patience_s: float = 120.0


class ControlPlane:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._channel = grpc.insecure_channel(connection.address, options=_OPTIONS)
        self._drivers: Any = operator_pb2_grpc.DriversStub(self._channel)  # type: ignore[no-untyped-call]
        self._jobs: Any = operator_pb2_grpc.JobsStub(self._channel)  # type: ignore[no-untyped-call]
        self._decisions: Any = operator_pb2_grpc.DecisionsStub(self._channel)  # type: ignore[no-untyped-call]
        self._devices: Any = operator_pb2_grpc.DevicesStub(self._channel)  # type: ignore[no-untyped-call]
        self._blobs: Any = operator_pb2_grpc.BlobsStub(self._channel)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self._channel.close()

    # ---- the job

    def get_job(self) -> operator_pb2.DriverJob:
        request = operator_pb2.GetRequest(id=self.connection.job_id)
        with _job_may_be_gone():
            job: operator_pb2.DriverJob = self._call(lambda: self._drivers.GetJob(request, timeout=DEADLINE_S))
            return job

    def report(
        self,
        *,
        stage: str,
        progress: float,
        message: str = "",
        candidates: Iterable[operator_pb2.Candidate] = (),
        teacher_accuracy: float = 0.0,
        search: operator_pb2.Search | None = None,
    ) -> bool:
        """Say how far the job is; answers whether somebody asked to cancel it.

        Raises:
            FencedError: a newer attempt drives the job, or it has ended.
        """
        request = operator_pb2.ProgressReport(
            job_id=self.connection.job_id,
            attempt=self.connection.attempt,
            stage=stage,
            progress=progress,
            message=message[:_MESSAGE_CHARACTERS],
            candidates=candidates,
            teacher_accuracy=teacher_accuracy,
            search=search,
        )
        with _job_may_be_gone():
            response = self._call(lambda: self._drivers.ReportProgress(request, timeout=DEADLINE_S))
            return bool(response.cancel_requested)

    def finish(
        self,
        state: operator_pb2.JobState,
        message: str,
        *,
        candidates: Iterable[operator_pb2.Candidate] = (),
        chosen: Iterable[operator_pb2.ClassModel] = (),
    ) -> None:
        request = operator_pb2.FinishJobRequest(
            job_id=self.connection.job_id,
            attempt=self.connection.attempt,
            state=state,
            message=message[:_MESSAGE_CHARACTERS],
            candidates=candidates,
            chosen=chosen,
        )
        with _job_may_be_gone():
            self._call(lambda: self._drivers.FinishJob(request, timeout=DEADLINE_S))

    # ---- stages

    def get_stage(self, key: str) -> StageRecord | None:
        request = operator_pb2.StageKey(key_sha256=bytes.fromhex(key))
        stage = self._call(lambda: self._drivers.GetStage(request, timeout=DEADLINE_S))
        return _stage_from_message(stage) if stage.found else None

    def put_stage(self, record: StageRecord) -> StageRecord:
        request = operator_pb2.Stage(
            key_sha256=bytes.fromhex(record.key),
            name=record.name,
            job_id=self.connection.job_id,
            outputs=[
                operator_pb2.BlobEntry(name=name, blob=blob_ref(blob))
                for name, blob in sorted(record.output.blobs.items())
            ],
            metrics_json=json.dumps(dict(record.output.metrics), sort_keys=True),
            duration_s=record.duration_s,
        )
        return _stage_from_message(self._call(lambda: self._drivers.PutStage(request, timeout=DEADLINE_S)))

    # ---- benchmarks, models, samples

    def request_benchmark(self, order: operator_pb2.BenchmarkOrder) -> operator_pb2.Benchmark:
        benchmark: operator_pb2.Benchmark = self._call(
            lambda: self._drivers.RequestBenchmark(order, timeout=DEADLINE_S)
        )
        return benchmark

    def get_benchmark(self, benchmark_id: str) -> operator_pb2.Benchmark:
        request = operator_pb2.GetRequest(id=benchmark_id)
        benchmark: operator_pb2.Benchmark = self._call(lambda: self._drivers.GetBenchmark(request, timeout=DEADLINE_S))
        return benchmark

    def device_classes(self) -> list[str]:
        """Classes of the devices that are online."""
        devices = self._call(lambda: self._devices.List(operator_pb2.ListRequest(), timeout=DEADLINE_S)).devices
        return sorted({device.facts.device_class for device in devices if device.online})

    def get_requesting_class(self) -> str:
        """The class of the device that the decision behind this job was about; empty where there is none."""
        try:
            job = self._call(
                lambda: self._jobs.Get(operator_pb2.GetRequest(id=self.connection.job_id), timeout=DEADLINE_S)
            )
            if not job.decision_id:
                return ""
            request = operator_pb2.GetRequest(id=job.decision_id)
            decision = self._call(lambda: self._decisions.Get(request, timeout=DEADLINE_S))
            request = operator_pb2.GetRequest(id=decision.device_id)
            return str(self._call(lambda: self._devices.Get(request, timeout=DEADLINE_S)).facts.device_class)
        except NotFoundError:
            return ""

    def publish_model(self, request: operator_pb2.PublishModelRequest) -> operator_pb2.PublishedModel:
        model: operator_pb2.PublishedModel = self._call(lambda: self._drivers.PublishModel(request, timeout=DEADLINE_S))
        return model

    def list_samples(self, device_ids: Iterable[str]) -> Iterator[operator_pb2.StoredSample]:
        """Every sample that this job may train on, oldest first."""
        after_id = 0
        wanted = list(device_ids)
        while True:
            request = operator_pb2.ListSamplesRequest(
                job_id=self.connection.job_id, device_ids=wanted, limit=_SAMPLES_PER_CALL, after_id=after_id
            )
            samples = self._list_samples(request)
            if not samples:
                return
            yield from samples
            after_id = samples[-1].id

    def _list_samples(self, request: operator_pb2.ListSamplesRequest) -> list[operator_pb2.StoredSample]:
        return list(self._call(lambda: self._drivers.ListSamples(request, timeout=DEADLINE_S)).samples)

    # ---- blobs

    def find_blob(self, digest: str) -> Blob | None:
        """What is stored under this digest, complete."""
        request = operator_pb2.GetBlobRequest(sha256=bytes.fromhex(digest))
        stat = self._call(lambda: self._blobs.Stat(request, timeout=DEADLINE_S))
        return Blob(digest, stat.blob.size_bytes) if stat.complete else None

    def put_blob(self, content: bytes) -> Blob:
        """Upload, from where an earlier upload broke off; bytes that are there already are not sent again."""
        blob = Blob(hashlib.sha256(content).hexdigest(), len(content))
        self._call(lambda: self._put_blob_once(blob, content))
        return blob

    def get_blob(self, digest: str, *, limit_bytes: int = MAX_BLOB_BYTES) -> bytes:
        """Download and verify.

        Raises:
            CorruptBlobError: the bytes are not those that the digest names.
            TooLargeError: more than `limit_bytes`.
        """
        return self._call(lambda: self._get_blob_once(digest, limit_bytes))

    def _put_blob_once(self, blob: Blob, content: bytes) -> None:
        sha256 = bytes.fromhex(blob.digest)
        stat = self._blobs.Stat(operator_pb2.GetBlobRequest(sha256=sha256), timeout=DEADLINE_S)
        if stat.complete:
            return

        def messages(offset: int) -> Iterator[operator_pb2.PutBlobRequest]:
            yield operator_pb2.PutBlobRequest(header=operator_pb2.PutBlobHeader(blob=blob_ref(blob), offset=offset))
            for start in range(offset, len(content), CHUNK_BYTES):
                yield operator_pb2.PutBlobRequest(data=content[start : start + CHUNK_BYTES])

        answer = self._blobs.Put(messages(min(stat.received_bytes, len(content))), timeout=BLOB_DEADLINE_S)
        if not answer.complete:
            raise UnavailableError(f"the upload of {blob.digest[:12]} ended before it was complete")

    def _get_blob_once(self, digest: str, limit_bytes: int) -> bytes:
        request = operator_pb2.GetBlobRequest(sha256=bytes.fromhex(digest))
        content = bytearray()
        for chunk in self._blobs.Get(request, timeout=BLOB_DEADLINE_S):
            if len(content) + len(chunk.data) > limit_bytes:
                raise TooLargeError(f"blob {digest[:12]} has more than {limit_bytes} bytes")
            content += chunk.data
        if hashlib.sha256(content).hexdigest() != digest:
            raise CorruptBlobError(f"blob {digest[:12]} arrived with other bytes than its name says")
        return bytes(content)

    def _call(self, attempt: Callable[[], T]) -> T:
        """Try until it works, it cannot work, or patience is at an end; full jitter between tries."""
        deadline = time.monotonic() + self.connection.patience_s
        pause_s = 0.2
        while True:
            try:
                try:
                    return attempt()
                except grpc.RpcError as failure:
                    raise error_of(failure) from failure
            except RETRYABLE:
                if time.monotonic() > deadline:
                    raise
            time.sleep(random.uniform(0.05, pause_s))
            pause_s = min(pause_s * 2, 5.0)


@contextmanager
def _job_may_be_gone() -> Iterator[None]:
    """Where the job itself is addressed, these mean that there is nothing left to drive."""
    try:
        yield
    except (NotFoundError, ConflictError) as error:
        raise FencedError(str(error)) from error


def blob_ref(blob: Blob) -> model_pb2.BlobRef:
    return model_pb2.BlobRef(sha256=bytes.fromhex(blob.digest), size_bytes=blob.size_bytes)


def _stage_from_message(stage: operator_pb2.Stage) -> StageRecord:
    metrics: Any = json.loads(stage.metrics_json or "{}")
    return StageRecord(
        key=stage.key_sha256.hex(),
        name=stage.name,
        output=StageOutput(
            blobs={entry.name: Blob(entry.blob.sha256.hex(), entry.blob.size_bytes) for entry in stage.outputs},
            metrics=metrics,
        ),
        duration_s=stage.duration_s,
    )
