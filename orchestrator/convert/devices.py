"""Devices: what they are, what they shall run, what their probation counted."""

from __future__ import annotations

from edge_agent.sketch import LatencySketch
from orchestrator import records
from orchestrator.convert.basics import action_state, blob_ref
from protos import fleet_pb2, operator_pb2


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
