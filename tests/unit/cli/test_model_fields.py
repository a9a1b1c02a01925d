"""What is vouched for about a model is said in words; what an older certificate leaves out is left out."""

from __future__ import annotations

from orchestrator.cli.models import MODELS
from orchestrator.plain import to_plain
from protos import model_pb2, operator_pb2


def shown(certificate: model_pb2.Certificate) -> dict[str, str]:
    model = operator_pb2.PublishedModel(sha256=bytes(32), name="digits", certificate=certificate)
    return dict(MODELS.fields(to_plain(model)))


def test_a_certificate_is_shown_with_its_worst_class_its_corruption_and_its_data() -> None:
    counts = model_pb2.PairedCounts(samples=50, correct=40, teacher_correct=45)
    fields = shown(
        model_pb2.Certificate(
            samples=500,
            correct=450,
            teacher_correct=460,
            accuracy_drop_upper_95=0.03,
            worst_class=model_pb2.WorstClass(label="shirt", counts=counts, accuracy_drop_upper_95=0.2),
            corrupted=model_pb2.Corrupted(corruption="gaussian_noise(20)", counts=counts, accuracy_drop_upper_95=0.1),
            data_sha256=b"\xab" * 32,
            splits=[model_pb2.SplitDigest(name="certify", sha256=b"\xcd" * 32, samples=500)],
            seed=7,
        )
    )
    assert fields["certified accuracy"] == "90.0 %"
    assert fields["worst class"] == "shirt: 80.0 % of 50, the teacher 90.0 %; no class lost more than 20.0 % (95 %)"
    assert fields["corrupted"].startswith("gaussian_noise(20): 80.0 % of 50, the teacher 90.0 %; at most 10.0 % lost")
    assert fields["data"] == "abababababab: certify 500 (cdcdcdcdcdcd); seed 7"


def test_a_certificate_from_before_is_shown_without_them() -> None:
    fields = shown(model_pb2.Certificate(samples=500, correct=450, teacher_correct=460, accuracy_drop_upper_95=0.03))
    assert not {"worst class", "corrupted", "data", "made on"} & fields.keys()


def test_where_a_model_was_made_is_shown_because_only_the_like_of_it_makes_the_same_again() -> None:
    facts = {"cpu_model": "Example CPU", "versions": {"torch": "2.13.0", "python": "3.11.7"}}
    made_on = [
        model_pb2.MadeOn(stage="teacher", threads=2, **facts),
        model_pb2.MadeOn(stage="student", threads=2, **facts),
        model_pb2.MadeOn(stage="quantize", threads=1, **facts),
    ]
    lineage = model_pb2.Lineage(network_sha256=b"\xef" * 32, made_on=made_on)
    fields = dict(MODELS.fields(to_plain(operator_pb2.PublishedModel(sha256=bytes(32), lineage=lineage))))
    assert fields["made on"].splitlines() == [
        "teacher, student: Example CPU, 2 thread(s), python 3.11.7, torch 2.13.0",
        "quantize: Example CPU, 1 thread(s), python 3.11.7, torch 2.13.0",
    ]
    assert fields["float network"] == "ef" * 32


def test_a_lineage_from_before_tells_of_its_last_stage_alone() -> None:
    lineage = model_pb2.Lineage(cpu_model="Example CPU", threads=2, versions={"torch": "2.13.0", "python": "3.11"})
    fields = dict(MODELS.fields(to_plain(operator_pb2.PublishedModel(sha256=bytes(32), lineage=lineage))))
    assert fields["made on"] == "Example CPU, 2 thread(s), python 3.11, torch 2.13.0"
    assert "float network" not in fields
