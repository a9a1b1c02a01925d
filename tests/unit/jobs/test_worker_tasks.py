"""What a job orders of its workers, run without Ray: what each may see, and what it makes of a network that is lost."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from orchestrator.compression.checkpoint import save_checkpoint
from orchestrator.compression.data import Preprocessing
from orchestrator.compression.prune.blocks import LEARNING
from orchestrator.compression.training.classifier import train_classifier
from orchestrator.datasets.digits import load_digits
from orchestrator.jobs import compression_tasks
from orchestrator.jobs.compression_tasks import make_candidate, pruned
from orchestrator.jobs.errors import TrialStoppedError
from orchestrator.jobs.orders import CURVE, CandidateOrder, NetworkRef, PruneOrder
from orchestrator.jobs.stages import Blob, StageInputs, StageRecord
from orchestrator.jobs.training_tasks import load_data, load_returned
from orchestrator.jobs.trial_tasks import outline_candidate
from orchestrator.jobs.user_code import build_network
from orchestrator.jobs.worker import TaskContext
from orchestrator.spec import CandidateSpec, DataSpec, PruneSpec, QuantizedTrainingSpec, QuantizeSpec, StudentSpec
from protos import fleet_pb2, operator_pb2
from tests.job_plane import WORKLOAD

SPLITS = load_digits()
STUDENT = StudentSpec(entrypoint="workload:student")
RUINED = PruneSpec(macs_fraction=0.1, epochs=0)


class Worker:
    """A task's context, and the control plane that it reaches."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.samples: list[fleet_pb2.Sample] = []
        self.records: dict[str, StageRecord] = {}
        self.report = self

    def set_up(self) -> None:
        torch.set_num_threads(1)

    def control_plane(self) -> Worker:
        return self

    def made_on(self) -> dict[str, Any]:
        return {}

    def part(self, start: float, end: float) -> None:
        return None

    def get_blob(self, digest: str) -> bytes:
        return self.blobs[digest]

    def put_blob(self, content: bytes) -> Blob:
        digest = hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        return Blob(digest, len(content))

    def get_stage(self, key: str) -> StageRecord | None:
        return self.records.get(key)

    def put_stage(self, record: StageRecord) -> StageRecord:
        return self.records.setdefault(record.key, record)

    def list_samples(self, device_ids: list[str]) -> list[operator_pb2.StoredSample]:
        return [operator_pb2.StoredSample(sample=sample) for sample in self.samples]


@pytest.fixture(autouse=True)
def _working_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(WORKLOAD)


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def context(worker: Worker) -> TaskContext:
    return cast(TaskContext, worker)


@pytest.fixture(scope="module")
def student() -> nn.Module:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(WORKLOAD)
        network = build_network(STUDENT.entrypoint, seed=1)
    preprocessing = Preprocessing.of(SPLITS)
    train_classifier(network, SPLITS.train, preprocessing=preprocessing, epochs=4, batch_size=32, seed=1)
    return network


@pytest.fixture
def ruined(worker: Worker, student: nn.Module) -> CandidateOrder:
    """Of a student that pruning leaves sure of answers that are wrong."""
    network = NetworkRef(entrypoint=STUDENT.entrypoint, checkpoint=worker.put_blob(save_checkpoint(student)).digest)
    return CandidateOrder(
        spec=CandidateSpec(name="int-w8-m0.1", prune=RUINED),
        network=network,
        fp32=network,
        inputs=StageInputs(name="candidate", code="", versions={}),
        teacher=network,
        learning=STUDENT,
        model_name="digits",
        seed=0,
    )


def test_a_network_that_pruning_has_ruined_is_outlined_all_the_same(
    context: TaskContext, ruined: CandidateOrder
) -> None:
    assert outline_candidate(context, ruined, SPLITS.without_certify()).metrics["model_bytes"] > 0


def test_a_candidate_that_pruning_has_ruined_is_made_and_judged_beside_the_network_it_was(
    context: TaskContext, ruined: CandidateOrder
) -> None:
    metrics = make_candidate(context, ruined, SPLITS.without_certify(), None).metrics
    assert metrics["accuracy"] < metrics["fp32_accuracy"] - 0.3


def test_a_training_below_its_hurdle_is_given_up_and_goes_on_where_it_ended_for_whoever_wants_it_all_the_same(
    worker: Worker, context: TaskContext, ruined: CandidateOrder
) -> None:
    quantize = QuantizeSpec(weight_bits=2, training=QuantizedTrainingSpec(epochs=2, batch_size=64))
    inputs = replace(ruined.inputs, parameters={"quantize": asdict(quantize)})
    wanted = replace(ruined, spec=CandidateSpec(name="int-w2t", quantize=quantize), inputs=inputs)
    splits = SPLITS.without_certify()
    with pytest.raises(TrialStoppedError, match="after epoch 1 of 2") as stopped:
        make_candidate(context, replace(wanted, hurdles=(1.1,)), splits, None)
    assert len(worker.records) == 1
    metrics = make_candidate(context, wanted, splits, None).metrics
    first, last = metrics[CURVE]
    assert f"accuracy {first:.4f}" in str(stopped.value)
    assert last == pytest.approx(metrics["accuracy"], abs=0.02)  # float32 beside the engine's integers
    assert len(worker.records) == 2


def test_every_key_of_pruning_reaches_the_library(context: TaskContext, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def take(network: nn.Module, split: object, pruning: object, **_: object) -> Any:
        asked.append(pruning)
        return SimpleNamespace(model=network)

    for name in ("prune_and_recover", "prune_blocks_and_recover"):
        monkeypatch.setattr(compression_tasks, name, take)
    monkeypatch.setattr(compression_tasks, "load_network", lambda *_: nn.Identity())
    monkeypatch.setattr(compression_tasks, "predict_logits", lambda *_: None)
    spec = PruneSpec(weights_fraction=0.5, block_sparsity=0.6, importance="answers", learning_rate=0.1, batch_size=8)
    network = NetworkRef(entrypoint=STUDENT.entrypoint, checkpoint="")
    order = PruneOrder(spec=spec, network=network, teacher=network, learning=STUDENT, seed=0)
    pruned(context, order, nn.Identity(), SPLITS.without_certify(), None)
    channels, blocks = asked
    assert (channels.macs_fraction, channels.weights_fraction, channels.importance) == (1.0, 0.5, "answers")
    assert blocks.learning == channels.learning
    assert (channels.learning.learning_rate, channels.learning.batch_size, channels.learning.alpha) == (0.1, 8, 1.0)
    pruned(context, replace(order, spec=PruneSpec(block_sparsity=0.6)), nn.Identity(), SPLITS, None)
    assert asked[-1].learning.learning_rate == LEARNING.learning_rate  # gentler than the student's


def test_only_the_seal_holds_the_certify_split_that_all_other_tasks_go_without(context: TaskContext) -> None:
    facts, splits, certify = load_data(context, DataSpec(entrypoint="workload:load_data"))
    assert len(splits.certify) == 0
    held = frozenset().union(*(split.input_digests for split in splits.named().values()))
    assert not held & SPLITS.certify.input_digests
    assert certify.digest() == facts.certify_digest == SPLITS.certify.digest()
    assert facts.digest == SPLITS.digest()


def test_the_data_of_a_repair_is_what_it_learns_from_with_the_returned_samples_beside_it(
    worker: Worker, context: TaskContext
) -> None:
    before, splits, certify = load_data(context, DataSpec(entrypoint="workload:load_data"))
    negatives = SPLITS.train.take(slice(0, 200))
    worker.samples = [
        fleet_pb2.Sample(seq=seq, label=int(label), raw=(255 - image).tobytes())
        for seq, (image, label) in enumerate(zip(negatives.inputs, negatives.labels, strict=True))
    ]
    facts, used, returned = load_returned(context, ["camera-1"], splits, certify, before.digest, 7)
    assert facts.split_digests == {
        "train": used.train.digest(),
        "calibrate": used.calibrate.digest(),
        "choose": SPLITS.choose.digest(),
        "certify": SPLITS.certify.digest(),
        "returned": returned.train.digest(),
        "returned held out": returned.held_out.digest(),
    }
    assert facts.counts["calibrate"] == len(used.calibrate) > before.counts["calibrate"]
    assert facts.counts["returned"] + facts.counts["returned held out"] == 200
    again, _, _ = load_returned(context, ["camera-1"], splits, certify, before.digest, 7)
    worker.samples = worker.samples[:-1]
    fewer, _, _ = load_returned(context, ["camera-1"], splits, certify, before.digest, 7)
    assert again == facts
    assert len({before.digest, facts.digest, fewer.digest}) == 3
