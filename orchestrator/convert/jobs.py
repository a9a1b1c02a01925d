"""Jobs, their stages and candidates, benchmarks, and the models that come of them."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator import records
from orchestrator.convert.basics import blob_ref, job_state
from protos import model_pb2, operator_pb2


def measurement(record: records.Measurement) -> model_pb2.Measurement:
    return model_pb2.Measurement(
        device_class=record.device_class,
        engine_path=record.engine_path,
        latency_p50_us=record.latency_p50_us,
        latency_p95_us=record.latency_p95_us,
        runs=record.runs,
        peak_ram_bytes=record.peak_ram_bytes,
        on_control_plane=record.on_control_plane,
        operator_p50_us=record.operator_p50_us,
    )


def measurement_from(message: model_pb2.Measurement) -> records.Measurement:
    return records.Measurement(
        device_class=message.device_class,
        engine_path=message.engine_path,
        latency_p50_us=message.latency_p50_us,
        latency_p95_us=message.latency_p95_us,
        runs=message.runs,
        peak_ram_bytes=message.peak_ram_bytes,
        on_control_plane=message.on_control_plane,
        operator_p50_us=tuple(message.operator_p50_us),
    )


def candidate(record: records.Candidate) -> operator_pb2.Candidate:
    return operator_pb2.Candidate(
        name=record.name,
        model_sha256=bytes.fromhex(record.model_digest),
        accuracy=record.accuracy,
        model_bytes=record.model_bytes,
        peak_ram_bytes=record.peak_ram_bytes,
        fp32_accuracy=record.fp32_accuracy,
        measurements=[measurement(entry) for entry in record.measurements],
        chosen_for=record.chosen_for,
        verdict=record.verdict,
    )


def candidate_from(message: operator_pb2.Candidate) -> records.Candidate:
    return records.Candidate(
        name=message.name,
        model_digest=message.model_sha256.hex(),
        accuracy=message.accuracy,
        model_bytes=message.model_bytes,
        peak_ram_bytes=message.peak_ram_bytes,
        fp32_accuracy=message.fp32_accuracy if message.HasField("fp32_accuracy") else None,
        measurements=tuple(measurement_from(entry) for entry in message.measurements),
        chosen_for=tuple(message.chosen_for),
        verdict=message.verdict,
    )


def search(record: records.Search) -> operator_pb2.Search:
    return operator_pb2.Search(
        trials_wanted=record.trials_wanted,
        ended=record.ended,
        trials=[
            operator_pb2.Trial(
                name=trial.name,
                accuracy=trial.accuracy,
                model_bytes=trial.model_bytes,
                peak_ram_bytes=trial.peak_ram_bytes,
                latencies=[
                    operator_pb2.PredictedLatency(device_class=entry.device_class, latency_p95_us=entry.latency_p95_us)
                    for entry in trial.latencies
                ],
                stopped=trial.stopped,
                on_front=trial.on_front,
            )
            for trial in record.trials
        ],
    )


def search_from(message: operator_pb2.Search) -> records.Search:
    return records.Search(
        trials_wanted=message.trials_wanted,
        ended=message.ended,
        trials=tuple(
            records.Trial(
                name=trial.name,
                accuracy=trial.accuracy,
                model_bytes=trial.model_bytes,
                peak_ram_bytes=trial.peak_ram_bytes,
                latencies=tuple(
                    records.PredictedLatency(device_class=entry.device_class, latency_p95_us=entry.latency_p95_us)
                    for entry in trial.latencies
                ),
                stopped=trial.stopped,
                on_front=trial.on_front,
            )
            for trial in message.trials
        ),
    )


def stage(record: records.Stage) -> operator_pb2.Stage:
    return operator_pb2.Stage(
        key_sha256=bytes.fromhex(record.key),
        name=record.name,
        job_id=record.job_id,
        outputs=[
            operator_pb2.BlobEntry(name=output.name, blob=blob_ref(output.digest, output.size_bytes))
            for output in record.outputs
        ],
        metrics_json=record.metrics_json,
        duration_s=record.duration_s,
        found=True,
        created_at_ms=record.created_at_ms,
    )


def job(record: records.Job, stages: Iterable[records.Stage]) -> operator_pb2.Job:
    return operator_pb2.Job(
        id=record.id,
        name=record.name,
        state=job_state(record.state),
        stage=record.stage,
        progress=record.progress,
        message=record.message,
        created_at_ms=record.created_at_ms,
        updated_at_ms=record.updated_at_ms,
        decision_id=record.decision_id,
        candidates=[candidate(entry) for entry in record.candidates],
        rollout_id=record.rollout_id,
        stages=[stage(entry) for entry in stages],
        spec_yaml=record.spec_yaml,
        working_dir_sha256=bytes.fromhex(record.working_dir_digest),
        teacher_accuracy=record.teacher_accuracy,
        search=None if record.search is None else search(record.search),
    )


def driver_job(record: records.Job) -> operator_pb2.DriverJob:
    return operator_pb2.DriverJob(
        id=record.id,
        spec_yaml=record.spec_yaml,
        working_dir_sha256=bytes.fromhex(record.working_dir_digest),
        cancel_requested=record.cancel_requested,
        parent_job_id=record.parent_job_id,
        parent_student_sha256=bytes.fromhex(record.parent_student_digest),
        sample_device_ids=record.sample_device_ids,
        action=record.action,
        parent_model_sha256=bytes.fromhex(record.parent_model_digest),
    )


def benchmark(record: records.Benchmark) -> operator_pb2.Benchmark:
    return operator_pb2.Benchmark(
        id=record.id,
        job_id=record.job_id,
        device_class=record.device_class,
        model=blob_ref(record.model_digest, record.model_size_bytes),
        done=record.done,
        error="; ".join(record.errors),
        measurements=[measurement(entry) for entry in record.measurements],
        no_device=record.no_device,
        warmup=record.warmup,
        runs=record.runs,
        device_ids=record.device_ids,
    )


def published_model(
    record: records.PublishedModel, statements: Iterable[model_pb2.Statement]
) -> operator_pb2.PublishedModel:
    """With the last of each kind of `statements`, and of lineages the one that the certificate vouches for."""
    message = operator_pb2.PublishedModel(
        sha256=bytes.fromhex(record.digest),
        name=record.name,
        size_bytes=record.size_bytes,
        published_at_ms=record.published_at_ms,
        job_id=record.job_id,
        measurements=[measurement(entry) for entry in record.measurements],
        statement_sha256=[bytes.fromhex(digest) for digest in record.statement_digests],
    )
    for statement in statements:
        if statement.HasField("lineage"):
            message.lineage.CopyFrom(statement.lineage)
        elif statement.HasField("certificate"):
            message.certificate.CopyFrom(statement.certificate)
        elif statement.HasField("rules"):
            message.rules.CopyFrom(statement.rules)
    if message.certificate.HasField("lineage"):
        message.lineage.CopyFrom(message.certificate.lineage)
    return message
