"""Candidates and measurements: plain records inside a job, messages on the wire."""

from __future__ import annotations

from orchestrator.records import Candidate, ClassModel, Measurement
from protos import model_pb2, operator_pb2


def candidate_message(candidate: Candidate) -> operator_pb2.Candidate:
    return operator_pb2.Candidate(
        name=candidate.name,
        model_sha256=bytes.fromhex(candidate.model_digest),
        accuracy=candidate.accuracy,
        model_bytes=candidate.model_bytes,
        peak_ram_bytes=candidate.peak_ram_bytes,
        measurements=[measurement_message(measurement) for measurement in candidate.measurements],
        chosen_for=candidate.chosen_for,
        verdict=candidate.verdict,
    )


def measurement_message(measurement: Measurement) -> model_pb2.Measurement:
    return model_pb2.Measurement(
        device_class=measurement.device_class,
        engine_path=measurement.engine_path,
        latency_p50_us=measurement.latency_p50_us,
        latency_p95_us=measurement.latency_p95_us,
        runs=measurement.runs,
        peak_ram_bytes=measurement.peak_ram_bytes,
        on_control_plane=measurement.on_control_plane,
    )


def measurement_record(message: model_pb2.Measurement) -> Measurement:
    return Measurement(
        device_class=message.device_class,
        engine_path=message.engine_path,
        latency_p50_us=message.latency_p50_us,
        latency_p95_us=message.latency_p95_us,
        runs=message.runs,
        peak_ram_bytes=message.peak_ram_bytes,
        on_control_plane=message.on_control_plane,
    )


def class_model_message(chosen: ClassModel) -> operator_pb2.ClassModel:
    return operator_pb2.ClassModel(device_class=chosen.device_class, model_sha256=bytes.fromhex(chosen.model_digest))
