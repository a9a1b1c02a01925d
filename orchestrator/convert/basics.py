"""States, digests and other values that many messages share."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator import records
from orchestrator.records import ActionState, JobState
from protos import fleet_pb2, model_pb2, operator_pb2


def action_state(state: ActionState) -> fleet_pb2.ActionState:
    value: fleet_pb2.ActionState = fleet_pb2.ActionState.Value(state.name)
    return value


def action_state_from(state: int) -> ActionState | None:
    """None where it is unspecified or unknown."""
    name = fleet_pb2.ActionState.Name(state) if state in fleet_pb2.ActionState.values() else ""
    return ActionState.__members__.get(name)


def job_state(state: JobState) -> operator_pb2.JobState:
    value: operator_pb2.JobState = operator_pb2.JobState.Value(f"JOB_{state.name}")
    return value


def job_state_from(state: int) -> JobState | None:
    """None where it is unspecified or unknown."""
    name = operator_pb2.JobState.Name(state) if state in operator_pb2.JobState.values() else ""
    return JobState.__members__.get(name.removeprefix("JOB_"))


def blob_ref(digest: str, size_bytes: int) -> model_pb2.BlobRef:
    return model_pb2.BlobRef(sha256=bytes.fromhex(digest), size_bytes=size_bytes)


def class_models(entries: Iterable[records.ClassModel]) -> list[operator_pb2.ClassModel]:
    return [
        operator_pb2.ClassModel(device_class=entry.device_class, model_sha256=bytes.fromhex(entry.model_digest))
        for entry in entries
    ]
