"""What is shown of a model that several jobs have made and stated things about."""

from __future__ import annotations

from orchestrator import convert
from orchestrator.records import PublishedModel
from protos import model_pb2

MODEL = PublishedModel(
    digest="ab" * 32, name="digits", size_bytes=10, file_bytes=5, published_at_ms=1, job_id="first", blob_digests=()
)


def lineage(job_id: str) -> model_pb2.Lineage:
    return model_pb2.Lineage(job_id=job_id)


def test_the_newest_certificate_is_shown_with_the_lineage_that_it_vouches_for() -> None:
    statements = [
        model_pb2.Statement(certificate=model_pb2.Certificate(samples=340, lineage=lineage("first"))),
        model_pb2.Statement(certificate=model_pb2.Certificate(samples=500, lineage=lineage("second"))),
        model_pb2.Statement(lineage=lineage("second")),
        model_pb2.Statement(lineage=lineage("third, not certified yet")),
    ]
    shown = convert.published_model(MODEL, statements)
    assert shown.certificate.samples == 500
    assert shown.lineage == shown.certificate.lineage == lineage("second")


def test_without_a_certificate_that_holds_one_the_newest_lineage_is_shown() -> None:
    statements = [
        model_pb2.Statement(lineage=lineage("first")),
        model_pb2.Statement(certificate=model_pb2.Certificate(samples=340)),
        model_pb2.Statement(lineage=lineage("second")),
    ]
    assert convert.published_model(MODEL, statements).lineage == lineage("second")
