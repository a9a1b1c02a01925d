"""Records to messages and back. Messages that come in have been checked before they get here."""

from __future__ import annotations

from collections.abc import Iterable

from edge_agent.sketch import LatencySketch
from orchestrator import records
from orchestrator.records import ActionState, JobState
from protos import fleet_pb2, model_pb2, operator_pb2


def action_state(state: ActionState) -> fleet_pb2.ActionState:
    value: fleet_pb2.ActionState = fleet_pb2.ActionState.Value(state.name)
    return value


def job_state(state: JobState) -> operator_pb2.JobState:
    value: operator_pb2.JobState = operator_pb2.JobState.Value(f"JOB_{state.name}")
    return value


def job_state_from(state: int) -> JobState | None:
    """None where it is unspecified or unknown."""
    name = operator_pb2.JobState.Name(state) if state in operator_pb2.JobState.values() else ""
    return JobState.__members__.get(name.removeprefix("JOB_"))


def action_state_from(state: int) -> ActionState | None:
    """None where it is unspecified or unknown."""
    name = fleet_pb2.ActionState.Name(state) if state in fleet_pb2.ActionState.values() else ""
    return ActionState.__members__.get(name)


def blob_ref(digest: str, size_bytes: int) -> model_pb2.BlobRef:
    return model_pb2.BlobRef(sha256=bytes.fromhex(digest), size_bytes=size_bytes)


# ---- devices


def facts(record: records.DeviceFacts) -> fleet_pb2.DeviceFacts:
    return fleet_pb2.DeviceFacts(
        device_class=record.device_class,
        agent_version=record.agent_version,
        engine_path=record.engine_path,
        engine_paths=record.engine_paths,
        model_bytes_limit=record.model_bytes_limit,
        ram_bytes_limit=record.ram_bytes_limit,
        latency_p95_limit_ms=record.latency_p95_limit_ms,
        machine=record.machine,
        cpu_model=record.cpu_model,
    )


def facts_from(message: fleet_pb2.DeviceFacts) -> records.DeviceFacts:
    return records.DeviceFacts(
        device_class=message.device_class,
        agent_version=message.agent_version,
        engine_path=message.engine_path,
        engine_paths=tuple(message.engine_paths),
        model_bytes_limit=message.model_bytes_limit,
        ram_bytes_limit=message.ram_bytes_limit,
        latency_p95_limit_ms=message.latency_p95_limit_ms,
        machine=message.machine,
        cpu_model=message.cpu_model,
    )


def assignment(record: records.Assignment) -> fleet_pb2.Assignment:
    message = fleet_pb2.Assignment(
        generation=record.generation,
        action_id=record.action_id,
        model_name=record.model_name,
        model=blob_ref(record.model_digest, record.model_size_bytes),
    )
    terms = record.probation
    if terms is not None:
        message.probation.CopyFrom(
            fleet_pb2.Probation(
                timeout_s=terms.timeout_s,
                max_error_rate=terms.max_error_rate,
                max_latency_p95_ms=terms.max_latency_p95_ms,
                slower_ratio=terms.slower_ratio,
                guard_min_requests=terms.guard_min_requests,
            )
        )
    return message


def pairs(record: records.PairCounts) -> fleet_pb2.PairCounts:
    return fleet_pb2.PairCounts(
        pairs=record.pairs,
        agreements=record.agreements,
        slower=record.slower,
        both_correct=record.both_correct,
        only_old_correct=record.only_old_correct,
        only_new_correct=record.only_new_correct,
        both_wrong=record.both_wrong,
        new_errors=record.new_errors,
        old_engine_latency_us=record.old_engine_latency_us.to_proto(),
        new_engine_latency_us=record.new_engine_latency_us.to_proto(),
    )


def pairs_from(message: fleet_pb2.PairCounts) -> records.PairCounts:
    """
    Raises:
        SketchError: a sketch in it is malformed.
    """
    return records.PairCounts(
        pairs=message.pairs,
        agreements=message.agreements,
        slower=message.slower,
        both_correct=message.both_correct,
        only_old_correct=message.only_old_correct,
        only_new_correct=message.only_new_correct,
        both_wrong=message.both_wrong,
        new_errors=message.new_errors,
        old_engine_latency_us=LatencySketch.from_proto(message.old_engine_latency_us),
        new_engine_latency_us=LatencySketch.from_proto(message.new_engine_latency_us),
    )


def device(record: records.Device) -> operator_pb2.Device:
    return operator_pb2.Device(
        id=record.id,
        facts=facts(record.facts),
        online=record.online,
        last_seen_ms=record.last_seen_ms,
        assignment=None if record.assignment is None else assignment(record.assignment),
        running_model_sha256=bytes.fromhex(record.running_digest),
        action_state=action_state(record.action_state),
        action_detail=record.action_detail,
        pairs=None if record.pairs is None else pairs(record.pairs),
        samples_consent=record.samples_consent,
        previous_model_sha256=bytes.fromhex(record.previous_digest),
        committed_generation=record.committed_generation,
    )


# ---- jobs and models


def measurement(record: records.Measurement) -> model_pb2.Measurement:
    return model_pb2.Measurement(
        device_class=record.device_class,
        engine_path=record.engine_path,
        latency_p50_us=record.latency_p50_us,
        latency_p95_us=record.latency_p95_us,
        runs=record.runs,
        peak_ram_bytes=record.peak_ram_bytes,
        on_control_plane=record.on_control_plane,
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
    )


def candidate(record: records.Candidate) -> operator_pb2.Candidate:
    return operator_pb2.Candidate(
        name=record.name,
        model_sha256=bytes.fromhex(record.model_digest),
        accuracy=record.accuracy,
        model_bytes=record.model_bytes,
        peak_ram_bytes=record.peak_ram_bytes,
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
        measurements=tuple(measurement_from(entry) for entry in message.measurements),
        chosen_for=tuple(message.chosen_for),
        verdict=message.verdict,
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


def published_model(record: records.PublishedModel, statements: Iterable[bytes]) -> operator_pb2.PublishedModel:
    message = operator_pb2.PublishedModel(
        sha256=bytes.fromhex(record.digest),
        name=record.name,
        size_bytes=record.size_bytes,
        published_at_ms=record.published_at_ms,
        job_id=record.job_id,
        measurements=[measurement(entry) for entry in record.measurements],
        statement_sha256=[bytes.fromhex(digest) for digest in record.statement_digests],
    )
    for body in statements:
        statement = model_pb2.Statement.FromString(body)
        if statement.HasField("lineage"):
            message.lineage.CopyFrom(statement.lineage)
        elif statement.HasField("certificate"):
            message.certificate.CopyFrom(statement.certificate)
    return message


# ---- rollouts, policies, decisions


def class_models(entries: Iterable[records.ClassModel]) -> list[operator_pb2.ClassModel]:
    return [
        operator_pb2.ClassModel(device_class=entry.device_class, model_sha256=bytes.fromhex(entry.model_digest))
        for entry in entries
    ]


def rollout(record: records.Rollout) -> operator_pb2.Rollout:
    return operator_pb2.Rollout(
        id=record.id,
        model_name=record.model_name,
        models=class_models(record.models),
        state=operator_pb2.RolloutState.Value(f"ROLLOUT_{record.state.name}"),
        message=record.message,
        waves=[_wave(entry) for entry in record.waves],
        job_id=record.job_id,
        decision_id=record.decision_id,
        created_at_ms=record.created_at_ms,
        updated_at_ms=record.updated_at_ms,
    )


def _wave(record: records.Wave) -> operator_pb2.Wave:
    return operator_pb2.Wave(
        name=record.name,
        gate=record.gate.value,
        devices=[
            operator_pb2.RolloutDevice(
                device_id=entry.device_id,
                model_sha256=bytes.fromhex(entry.model_digest),
                previous_model_sha256=bytes.fromhex(entry.previous_digest),
                generation=entry.generation,
                state=action_state(entry.state),
                verdict=entry.verdict,
            )
            for entry in record.devices
        ],
    )


def policy(record: records.Policy) -> operator_pb2.Policy:
    return operator_pb2.Policy(
        name=record.name, spec_yaml=record.spec_yaml, updated_at_ms=record.updated_at_ms, deleted=record.deleted
    )


def decision(record: records.Decision) -> operator_pb2.Decision:
    return operator_pb2.Decision(
        id=record.id,
        policy=record.policy,
        device_id=record.device_id,
        model_sha256=bytes.fromhex(record.model_digest),
        action=record.action,
        reason=record.reason,
        evidence_json=record.evidence_json,
        decided_at_ms=record.decided_at_ms,
        job_id=record.job_id,
        rollout_id=record.rollout_id,
        outcome=record.outcome,
    )


def telemetry_summary(record: records.WindowTotals) -> operator_pb2.TelemetrySummary:
    digest = bytes.fromhex(record.model_digest)
    total = fleet_pb2.Window(
        model_sha256=digest,
        start_ms=record.from_ms,
        end_ms=record.until_ms,
        requests=record.requests,
        errors=record.errors,
        engine_latency_us=record.engine_latency_us.to_proto(),
        request_latency_us=record.request_latency_us.to_proto(),
        confidence_histogram=record.confidence_histogram,
        class_counts=record.class_counts,
        labelled=record.labelled,
        labelled_correct=record.labelled_correct,
        feedback_late=record.feedback_late,
        feedback_unmatched=record.feedback_unmatched,
        rss_bytes=record.rss_bytes,
        cpu_seconds=record.cpu_seconds,
    )
    return operator_pb2.TelemetrySummary(
        device_id=record.device_id,
        model_sha256=digest,
        windows=record.windows,
        total=total,
        dropped_records=record.dropped_records,
    )
