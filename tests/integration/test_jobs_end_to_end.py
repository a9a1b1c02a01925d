"""Whole jobs on the digits: real control plane, real driver process, real Ray."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

from edge_agent.facts import cpu_model
from edge_agent.runtime import check_golden
from edge_agent.runtime.graph import Linear, RuleTable, Select
from orchestrator.compression.checkpoint import load_checkpoint, read_tensors
from orchestrator.compression.data import Preprocessing
from orchestrator.compression.evaluation import evaluate, evaluate_network
from orchestrator.compression.examination import CERTIFIED_CORRUPTION
from orchestrator.compression.pipeline import compress
from orchestrator.compression.prune.surgery import take_widths
from orchestrator.compression.training.classifier import train_classifier
from orchestrator.datasets import Split
from orchestrator.datasets.digits import load_digits
from orchestrator.jobs.cluster import EmbeddedCluster
from orchestrator.jobs.provenance import ModelRecipe
from orchestrator.jobs.user_code import build_network
from orchestrator.records import JobState
from orchestrator.store import Session
from protos import fleet_pb2, model_pb2
from tests.job_plane import WORKLOAD, JobPlane, spec
from tests.unit.compression.onnx_files import exported

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]


EPOCHS = 30  # of the teacher, where a test strikes in the middle of its training


async def test_a_job_ends_with_a_model_whose_certificate_is_what_the_engine_answers(plane: JobPlane) -> None:
    training = {"epochs": 2, "batchSize": 64}
    candidates = [
        {"name": "int8", "quantize": {"scheme": "integer", "weightBits": 8}},
        {"name": "mixed", "quantize": {"scheme": "power-of-two", "meanBits": 3.5}},
        {"name": "w2-trained", "quantize": {"weightBits": 2, "training": training}},
    ]
    # Bytes decide: two jobs that measured different latencies choose the same.
    targets = [{"deviceClass": "gateway", "accuracyFloor": 0.5, "objective": "bytes"}]
    job_id = await plane.submit(spec(candidates=candidates, targets=targets))
    job = await plane.end_of(job_id)
    assert job.state is JobState.SUCCEEDED, plane.log(job_id)
    assert [candidate.name for candidate in job.candidates] == ["int8", "mixed", "w2-trained"]
    assert all(candidate.fp32_accuracy is not None for candidate in job.candidates)
    assert {"quantized epoch 1", "quantized epoch 2"} <= set(await plane.stages(job_id))
    assert all(candidate.measurements[0].on_control_plane for candidate in job.candidates)  # no device was there

    digest = job.chosen[0].model_digest
    published = await plane.database.read(lambda session: session.models.get(digest))
    engine = plane.engine(digest)
    assert engine.graph.golden is not None
    check_golden(engine, plane.blob(engine.graph.golden.sha256.hex()))
    statements = await plane.statements(published.digest)
    certificate = next(s.certificate for s in statements if s.HasField("certificate"))
    lineage = next(s.lineage for s in statements if s.HasField("lineage"))
    splits = load_digits()
    assert certificate.correct == evaluate(engine, splits.certify).correct.sum()
    assert certificate.samples == len(splits.certify)
    assert certificate.split_sha256.hex() == splits.certify.digest()
    assert (
        certificate.accuracy_drop_upper_95 >= (certificate.teacher_correct - certificate.correct) / certificate.samples
    )
    assert certificate.lineage == lineage
    assert certificate.data_sha256.hex() == splits.digest()
    assert {s.name: s.sha256.hex() for s in certificate.splits} == {n: s.digest() for n, s in splits.named().items()}
    corrupted = CERTIFIED_CORRUPTION.apply(splits.certify.inputs)
    answered = evaluate(engine, Split(corrupted, splits.certify.labels)).correct.sum()
    assert (certificate.corrupted.corruption, certificate.corrupted.counts.correct) == ("gaussian_noise(20)", answered)
    of_worst = splits.certify.labels == splits.labels.index(certificate.worst_class.label)
    assert certificate.worst_class.counts.correct == evaluate(engine, splits.certify).correct[of_worst].sum()
    assert certificate.measurements[0].latency_p95_us > 0
    assert [made.stage for made in lineage.made_on] == ["teacher", "student", "quantize"]
    for made in lineage.made_on:
        assert (made.cpu_model, made.versions["torch"]) == (cpu_model(), torch.__version__)
        assert made.threads >= 1
    assert lineage.network_sha256 == lineage.student_sha256
    assert plane.blob(lineage.student_sha256.hex())
    assert plane.blob(lineage.teacher_sha256.hex())
    assert sum(s.HasField("measurement") for s in statements) == 1
    chosen = next(candidate for candidate in job.candidates if candidate.model_digest == digest)
    assert chosen.accuracy == evaluate(engine, splits.choose).accuracy

    again = await plane.submit(spec(candidates=candidates, targets=targets, rollout={"auto": False}))
    assert (await plane.end_of(again)).chosen == job.chosen
    # Every job measures anew; every other stage was there already, the certificate too.
    assert set(await plane.stages(again)) == {"timing"}


async def test_what_a_search_pruned_and_quantized_is_made_again_from_its_lineage(
    plane: JobPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {"schemes": ["integer"], "weightBits": [4], "meanBits": [], "macsFractions": [0.5], "epochs": 1}
    target = {"deviceClass": "gateway", "compressionDrop": 1}
    job_id = await plane.submit(spec(candidates=[], search={"trials": 1, "space": space}, targets=[target]))
    job = await plane.end_of(job_id)
    assert job.state is JobState.SUCCEEDED, plane.log(job_id)
    digest = job.chosen[0].model_digest
    lineage = next(s.lineage for s in await plane.statements(digest) if s.HasField("lineage"))
    assert lineage.network_sha256 != lineage.student_sha256
    assert [made.stage for made in lineage.made_on] == ["teacher", "student", "prune", "quantize"]
    recipe = ModelRecipe.from_json(lineage.recipe_json)
    assert recipe.prune is not None
    assert recipe.prune.macs_fraction == 0.5
    assert recipe.student == recipe.learning
    assert recipe.student is not None

    monkeypatch.syspath_prepend(str(WORKLOAD))
    network = build_network(recipe.student.entrypoint, seed=0)
    checkpoint = plane.blob(lineage.network_sha256.hex())
    take_widths(network, read_tensors(checkpoint))
    load_checkpoint(network, checkpoint)
    torch.set_num_threads(lineage.made_on[-1].threads)
    again = compress(network.eval(), load_digits(), recipe.quantize, name="digits", max_accuracy_drop=None)
    assert again.digest.hex() == digest


@pytest.mark.slow
async def test_a_search_takes_what_training_and_blocks_make_smallest(plane: JobPlane) -> None:
    space = {
        "schemes": ["integer"],
        "weightBits": [8],
        "meanBits": [],
        "trainedBits": [2],
        "training": {"epochs": 1, "batchSize": 64},
        "macsFractions": [1.0],
        "blockSparsities": [0.0, 0.5],
    }
    target = {"deviceClass": "gateway", "compressionDrop": 1, "objective": "bytes"}
    job_id = await plane.submit(spec(candidates=[], search={"trials": 4, "space": space}, targets=[target]))
    job = await plane.end_of(job_id)
    assert job.state is JobState.SUCCEEDED, plane.log(job_id)
    assert job.search is not None
    assert {trial.name for trial in job.search.trials} == {"int-w8", "int-w2t", "int-w8-b0.5", "int-w2t-b0.5"}
    digest = job.chosen[0].model_digest
    assert next(candidate.name for candidate in job.candidates if candidate.model_digest == digest) == "int-w2t-b0.5"
    weights = [t for t in plane.engine(digest).graph.tensors if t.bits or t.is_block_sparse]
    assert any(tensor.is_block_sparse and tensor.bits == 2 for tensor in weights)
    lineage = next(s.lineage for s in await plane.statements(digest) if s.HasField("lineage"))
    recipe = ModelRecipe.from_json(lineage.recipe_json)
    assert recipe.quantize.training is not None
    assert recipe.prune is not None
    assert recipe.prune.block_sparsity == 0.5


@pytest.mark.slow
async def test_a_job_makes_rules_of_a_table_that_take_its_rows_as_they_are(plane: JobPlane) -> None:
    job_id = await plane.submit(
        spec(
            data={"entrypoint": "workload:load_cells"},
            teacher={"entrypoint": "workload:dense", "epochs": 30, "batchSize": 32},
            student={"entrypoint": "workload:dense", "epochs": 20},
            candidates=[{"name": "rules", "rules": {"rules": 24, "trees": 4, "fidelityFloor": 0.9}}],
            targets=[{"deviceClass": "gateway", "accuracyFloor": 0.9, "modelBytes": 4096, "compressionDrop": 0.05}],
        )
    )
    job = await plane.end_of(job_id)
    assert job.state is JobState.SUCCEEDED, plane.log(job_id)
    digest = job.chosen[0].model_digest
    engine = plane.engine(digest)
    bunch = load_breast_cancer()
    rows = bunch.data.astype("<f4")
    answers = np.frombuffer(engine.infer_batch(rows.tobytes(), raw=False), np.int8).reshape(len(rows), -1)
    assert (answers.argmax(axis=1) == bunch.target).mean() > 0.92
    rules = next(s.rules for s in await plane.statements(digest) if s.HasField("rules"))
    assert "worst perimeter" in rules.text or "worst area" in rules.text or "worst radius" in rules.text
    assert rules.fidelity >= 0.9


@pytest.mark.slow
async def test_a_job_makes_block_sparse_networks_rules_and_cascades(plane: JobPlane) -> None:
    anything_goes = {"fidelityFloor": 0.0, "cascade": {"mostDrop": 1.0, "leastAnswered": 0.0}}
    candidates = [
        {"name": "sparse", "prune": {"blockSparsity": 0.5}},
        {"name": "rules", "rules": {"fidelityFloor": 0.0}},
        {"name": "cascade", "rules": anything_goes},
    ]
    job_id = await plane.submit(spec(candidates=candidates, targets=[{"deviceClass": "gateway", "compressionDrop": 1}]))
    job = await plane.end_of(job_id)
    assert job.state is JobState.SUCCEEDED, plane.log(job_id)
    engines = {candidate.name: plane.engine(candidate.model_digest) for candidate in job.candidates}
    kinds = {name: {type(op.kind) for op in engine.graph.operators} for name, engine in engines.items()}
    assert RuleTable not in kinds["sparse"]
    sparse = model_pb2.Model.FromString(plane.blob(job.candidates[0].model_digest))
    assert any(tensor.encoding == model_pb2.BLOCK_SPARSE for tensor in sparse.tensors)
    assert RuleTable in kinds["rules"]
    assert Linear not in kinds["rules"]
    assert {RuleTable, Select, Linear} <= kinds["cascade"]


async def test_a_job_takes_its_teacher_from_an_onnx_file_as_it_is_and_compresses_it(
    plane: JobPlane, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10))
    splits = load_digits()
    preprocessing = Preprocessing.of(splits)
    train_classifier(
        network, splits.train, preprocessing=preprocessing, epochs=3, batch_size=32, learning_rate=0.1, seed=0
    )
    folder = shutil.copytree(WORKLOAD, tmp_path / "workload")
    (folder / "teacher.onnx").write_bytes(exported(network, (1, 8, 8)))

    document = json.loads(spec(teacher={"entrypoint": "teacher.onnx", "epochs": 0}))
    del document["spec"]["student"]  # so the teacher itself is compressed
    job_id = await plane.submit(json.dumps(document), working_dir=folder)
    job = await plane.end_of(job_id)
    assert job.state is JobState.SUCCEEDED, plane.log(job_id)
    statements = await plane.statements(job.chosen[0].model_digest)
    certificate = next(s.certificate for s in statements if s.HasField("certificate"))
    assert (
        certificate.teacher_correct
        == evaluate_network(network, splits.certify, preprocessing=preprocessing).correct.sum()
    )


@pytest.mark.slow
async def test_after_kill_9_of_the_driver_the_job_resumes_and_runs_no_stage_twice(plane: JobPlane) -> None:
    job_id = await plane.submit(spec(seed=1, teacher={"epochs": EPOCHS}))
    await plane.until_stage(job_id, "teacher epoch 2")
    driver = plane.driver(job_id)
    assert driver is not None
    driver.signal(signal.SIGKILL)
    job = await plane.end_of(job_id)
    assert job.state is JobState.SUCCEEDED, plane.log(job_id)
    assert job.attempt == 2
    counts = Counter(await plane.stages(job_id))
    assert counts == {
        **{f"teacher epoch {epoch}": 1 for epoch in range(1, EPOCHS + 1)},
        "teacher": 1,
        "student": 1,
        "candidate": 2,
        "timing": 2,
        "certificate": len({chosen.model_digest for chosen in job.chosen}),
    }


@pytest.mark.slow
async def test_when_rays_head_dies_the_job_starts_another_and_resumes(
    plane: JobPlane, cluster: EmbeddedCluster
) -> None:
    job_id = await plane.submit(spec(seed=2, teacher={"epochs": EPOCHS}))
    await plane.until_stage(job_id, "teacher epoch 2")
    head = cluster.current()
    assert head is not None
    for member in head.members():
        member.signal(signal.SIGKILL)
    job = await plane.end_of(job_id)
    assert job.state is JobState.SUCCEEDED, plane.log(job_id)
    after = cluster.current()
    assert after is not None
    assert after.leader != head.leader
    assert max(Counter(await plane.stages(job_id)).values()) == 2  # two candidates; everything else once


async def test_a_mistake_in_user_code_fails_the_job_and_names_the_line(plane: JobPlane) -> None:
    job_id = await plane.submit(spec(student={"entrypoint": "workload:broken"}))
    job = await plane.end_of(job_id)
    assert job.state is JobState.FAILED
    assert "workload:broken failed with ValueError: this teacher does not exist (at workload.py:" in job.message
    assert job.attempt == 1


async def test_without_a_feasible_candidate_the_job_names_the_nearest_points(plane: JobPlane) -> None:
    candidates = [{"name": "int8"}, {"name": "one-byte", "quantize": {"weightBytes": 1}}]
    job_id = await plane.submit(spec(candidates=candidates, targets=[{"deviceClass": "gateway", "modelBytes": 100}]))
    job = await plane.end_of(job_id)
    assert job.state is JobState.INFEASIBLE, plane.log(job_id)
    assert "nearest: " in job.message
    int8, one_byte = job.candidates
    assert "bytes is" in int8.verdict
    assert one_byte.verdict.startswith("could not be made: ")
    assert one_byte.verdict in job.message
    assert job.chosen == ()


async def test_a_job_that_searches_ends_with_a_measured_front_and_the_best_of_it(plane: JobPlane) -> None:
    space = {"schemes": ["integer"], "weightBits": [8], "meanBits": [3.5], "macsFractions": [1.0, 0.6]}
    searching = {"trials": 4, "budget": 300, "space": space}
    job_id = await plane.submit(
        spec(candidates=[], search=searching, targets=[{"deviceClass": "gateway", "accuracyDrop": 0.2}])
    )
    job = await plane.end_of(job_id)
    assert job.state is JobState.SUCCEEDED, plane.log(job_id)
    assert job.search is not None
    assert job.search.ended == "the whole space of 4 was tried"
    assert {trial.name for trial in job.search.trials} == {"int-w8", "int-mean3.5", "int-w8-m0.6", "int-mean3.5-m0.6"}
    # Where devices correct the tables, what suits the target better then is measured too.
    measured, tried = {candidate.name for candidate in job.candidates}, {trial.name for trial in job.search.trials}
    assert {trial.name for trial in job.search.trials if trial.on_front} <= measured <= tried
    assert all(candidate.measurements[0].operator_p50_us for candidate in job.candidates)
    best = next(candidate for candidate in job.candidates if candidate.chosen_for)
    assert best.accuracy >= job.teacher_accuracy - 0.2 > 0.6
    assert best.accuracy == max(candidate.accuracy for candidate in job.candidates)


async def test_a_job_is_cancelled_in_the_middle_of_a_stage(plane: JobPlane) -> None:
    job_id = await plane.submit(spec(seed=3, teacher={"epochs": 5000}))
    job = await plane.until(job_id, lambda job: job.stage == "teacher")

    def cancel(session: Session) -> None:
        session.jobs.put(dataclasses.replace(session.jobs.get(job_id), cancel_requested=True))

    await plane.database.write(cancel)
    job = await plane.end_of(job_id)
    assert job.state is JobState.CANCELLED, plane.log(job_id)


async def test_a_repair_learns_a_changed_world_from_returned_samples(plane: JobPlane) -> None:
    """The device's camera shows negatives: the running model is lost on them, the repaired one is not."""
    parent_id = await plane.submit(spec())
    parent = (await plane.end_of(parent_id)).chosen[0].model_digest
    lineage = next(s.lineage for s in await plane.statements(parent) if s.HasField("lineage"))
    splits = load_digits()
    returned = [
        fleet_pb2.Sample(seq=seq, label=int(label), raw=(255 - image).tobytes())
        for seq, (image, label) in enumerate(zip(splits.train.inputs[:400], splits.train.labels[:400], strict=True))
    ]
    await plane.database.write(lambda session: session.samples.add("camera-1", returned))

    job_id = await plane.submit(
        spec(student={"epochs": 6}),
        action="distill_again",
        parent_job_id=parent_id,
        parent_model_digest=parent,
        parent_student_digest=lineage.student_sha256.hex(),
        sample_device_ids=("camera-1",),
    )
    job = await plane.end_of(job_id)
    assert job.state is JobState.SUCCEEDED, plane.log(job_id)
    assert "teacher" not in await plane.stages(job_id)  # the parent's
    assert all("on held-out returned samples" in candidate.verdict for candidate in job.candidates)
    negatives = Split(255 - splits.certify.inputs, splits.certify.labels)
    before, after = plane.engine(parent), plane.engine(job.chosen[0].model_digest)
    assert evaluate(before, negatives).accuracy < 0.4
    assert evaluate(after, negatives).accuracy > 0.6
    assert evaluate(after, splits.certify).accuracy > 0.8
    statements = await plane.statements(job.chosen[0].model_digest)
    stated = next(s.certificate for s in statements if s.HasField("certificate"))
    samples = {split.name: split.samples for split in stated.splits}
    assert samples["returned"] + samples["returned held out"] == 400
    assert samples["calibrate"] > len(splits.calibrate)
    assert stated.data_sha256.hex() != splits.digest()


@pytest.mark.slow
async def test_a_faster_candidate_is_sought_without_training_again(plane: JobPlane) -> None:
    parent_id = await plane.submit(spec())
    parent = (await plane.end_of(parent_id)).chosen[0].model_digest
    job_id = await plane.submit(spec(), action="faster_candidate", parent_job_id=parent_id, parent_model_digest=parent)
    job = await plane.end_of(job_id)
    assert job.state in (JobState.SUCCEEDED, JobState.INFEASIBLE), plane.log(job_id)
    assert {"teacher", "student"}.isdisjoint(await plane.stages(job_id))
    assert {candidate.name for candidate in job.candidates} >= {"int8", "int8-narrower", "pow2-w4-narrower"}
    assert parent not in {chosen.model_digest for chosen in job.chosen}
