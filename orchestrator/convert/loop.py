"""Rollouts, policies, decisions, and the telemetry that they are made from."""

from __future__ import annotations

from orchestrator import records
from orchestrator.convert.basics import action_state, class_models
from protos import fleet_pb2, operator_pb2


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
