"""Statements about a chosen model, and its publication. What a statement says was computed before; here it is put."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator import convert
from orchestrator.jobs.control_plane import ControlPlane, blob_ref
from orchestrator.jobs.orders import DataFacts
from orchestrator.jobs.provenance import Provenance
from orchestrator.jobs.stages import Blob
from orchestrator.records import Candidate
from protos import model_pb2, operator_pb2

_TEXT_BYTES = 48 * 1024  # of rules in a statement; what is longer is cut at a line


@dataclass(frozen=True, kw_only=True)
class Ancestry:
    """Where the models of one job come from; digests are hex, empty where there is none."""

    job_id: str
    teacher: str
    student: str
    parent_model: str


@dataclass(frozen=True, kw_only=True)
class ChosenModel:
    candidate: Candidate
    model: Blob
    blobs: tuple[Blob, ...]  # tensors and golden vectors
    provenance: Provenance
    rules: Mapping[str, Any] | None  # fields of a RuleSet, where the model has rules
    certificate: Mapping[str, Any]  # as `compression_tasks.certify_models` gives it
    data: DataFacts
    seed: int


def publish(control_plane: ControlPlane, chosen: ChosenModel, ancestry: Ancestry) -> operator_pb2.PublishedModel:
    """Put the statements as blobs and record the model."""
    issued_at_ms = time.time_ns() // 1_000_000
    statements = [
        control_plane.put_blob(statement.SerializeToString(deterministic=True))
        for statement in _statements(chosen, ancestry, issued_at_ms)
    ]
    return control_plane.publish_model(
        operator_pb2.PublishModelRequest(
            job_id=ancestry.job_id,
            model=blob_ref(chosen.model),
            blobs=[blob_ref(blob) for blob in chosen.blobs],
            statements=[blob_ref(blob) for blob in statements],
        )
    )


def _statements(chosen: ChosenModel, ancestry: Ancestry, issued_at_ms: int) -> list[model_pb2.Statement]:
    sha256 = bytes.fromhex(chosen.model.digest)
    lineage = model_pb2.Lineage(
        job_id=ancestry.job_id,
        candidate=chosen.candidate.name,
        recipe_json=chosen.provenance.recipe.to_json(),
        teacher_sha256=bytes.fromhex(ancestry.teacher),
        student_sha256=bytes.fromhex(ancestry.student),
        parent_model_sha256=bytes.fromhex(ancestry.parent_model),
        network_sha256=bytes.fromhex(chosen.provenance.network),
        made_on=[model_pb2.MadeOn(stage=stage, **facts) for stage, facts in chosen.provenance.made_on.items()],
    )
    bodies = [
        model_pb2.Statement(lineage=lineage),
        model_pb2.Statement(certificate=_certificate(chosen, lineage)),
        *_rule_set(chosen.rules),
        *(model_pb2.Statement(measurement=convert.measurement(m)) for m in chosen.candidate.measurements),
    ]
    for statement in bodies:
        statement.model_sha256 = sha256
        statement.issued_at_ms = issued_at_ms
    return bodies


def _rule_set(rules: Mapping[str, Any] | None) -> list[model_pb2.Statement]:
    if rules is None:
        return []
    return [model_pb2.Statement(rules=model_pb2.RuleSet(**{**rules, "text": _cut(str(rules["text"]))}))]


def _cut(text: str) -> str:
    if len(text.encode()) <= _TEXT_BYTES:
        return text
    lines = text.splitlines()
    kept = text.encode()[:_TEXT_BYTES].decode(errors="ignore").splitlines()[:-1]  # the last one may be cut
    return "\n".join([*kept, f"... and {len(lines) - len(kept)} lines more"])


def _certificate(chosen: ChosenModel, lineage: model_pb2.Lineage) -> model_pb2.Certificate:
    """All that is vouched for in one statement, so that one signature is enough."""
    counts, worst, corrupted = chosen.certificate, chosen.certificate["worst_class"], chosen.certificate["corrupted"]
    return model_pb2.Certificate(
        **{name: counts[name] for name in _COUNTS},
        accuracy_drop_upper_95=counts["accuracy_drop_upper_95"],
        split_sha256=bytes.fromhex(chosen.data.certify_digest),
        model_bytes=chosen.candidate.model_bytes,
        worst_class=model_pb2.WorstClass(
            label=worst["name"],
            counts=_counts(worst["comparison"]),
            accuracy_drop_upper_95=worst["accuracy_drop_upper_95"],
        ),
        corrupted=model_pb2.Corrupted(
            corruption=corrupted["corruption"],
            seed=corrupted["seed"],
            counts=_counts(corrupted),
            accuracy_drop_upper_95=corrupted["accuracy_drop_upper_95"],
        ),
        data_sha256=bytes.fromhex(chosen.data.digest),
        splits=[
            model_pb2.SplitDigest(name=name, sha256=bytes.fromhex(digest), samples=chosen.data.counts[name])
            for name, digest in sorted(chosen.data.split_digests.items())
        ],
        seed=chosen.seed,
        lineage=lineage,
        peak_ram_bytes=chosen.candidate.peak_ram_bytes,
        measurements=[
            convert.measurement(dataclasses.replace(m, operator_p50_us=())) for m in chosen.candidate.measurements
        ],
    )


_COUNTS = ("samples", "correct", "teacher_correct", "only_model_correct", "only_teacher_correct")


def _counts(comparison: Mapping[str, Any]) -> model_pb2.PairedCounts:
    return model_pb2.PairedCounts(**{name: comparison[name] for name in _COUNTS})
