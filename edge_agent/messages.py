"""Messages of fleet.proto to the agent's own types and back; what the control plane sends is checked here."""

from __future__ import annotations

import math

from edge_agent.config import AgentConfig
from edge_agent.errors import RefusedError
from edge_agent.life import Assignment, Life, ModelRef, ProbationTerms, Report
from protos import fleet_pb2 as pb
from protos import model_pb2

PROTOCOL_VERSION = 1


def read_assignment(message: pb.Assignment) -> Assignment:
    """Raises RefusedError where the assignment makes no sense; the agent then stays as it is."""
    if message.generation == 0 or not message.action_id:
        raise _nonsense("an assignment without a generation or an action id")
    return Assignment(
        generation=message.generation,
        action_id=message.action_id,
        model_name=message.model_name,
        model=read_model_ref(message.model),
        probation=_read_terms(message.probation) if message.HasField("probation") else None,
    )


def read_model_ref(message: model_pb2.BlobRef) -> ModelRef:
    if len(message.sha256) != 32 or message.size_bytes == 0:
        raise _nonsense("a model without a SHA-256 digest or a size")
    return ModelRef(digest=message.sha256.hex(), size_bytes=message.size_bytes)


def write_sync(
    config: AgentConfig, life: Life, *, boot_id: str, running: ModelRef | None, facts: pb.DeviceFacts
) -> pb.SyncRequest:
    return pb.SyncRequest(
        protocol_version=PROTOCOL_VERSION,
        boot_id=boot_id,
        facts=facts,
        generation=life.generation,
        running_model_sha256=bytes.fromhex(running.digest) if running else b"",
        state=life.state.name,
        action_id=life.assignment.action_id if life.assignment else "",
        samples_consent=config.samples.consent,
    )


def write_report(report: Report, boot_id: str) -> pb.ReportRequest:
    action = pb.ActionReport(
        action_id=report.action_id,
        generation=report.generation,
        seq=report.seq,
        state=report.state.name,
        detail=report.detail,
    )
    if report.pairs:
        action.pairs.CopyFrom(pb.PairCounts.FromString(report.pairs))
    return pb.ReportRequest(boot_id=boot_id, action=action)


def _read_terms(message: pb.Probation) -> ProbationTerms:
    terms = ProbationTerms(
        timeout_s=message.timeout_s,
        max_error_rate=message.max_error_rate,
        max_latency_p95_ms=message.max_latency_p95_ms,
        slower_ratio=message.slower_ratio,
        guard_min_requests=message.guard_min_requests,
    )
    numbers = (terms.timeout_s, terms.max_error_rate, terms.max_latency_p95_ms, terms.slower_ratio)
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise _nonsense("probation terms that are negative or not finite")
    return terms


def _nonsense(what: str) -> RefusedError:
    return RefusedError(f"the control plane sent {what}", code="INVALID_ARGUMENT")
