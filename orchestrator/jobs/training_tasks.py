"""Ray tasks that need data or make float networks: the splits, the returned samples, the student.

Each fetches what it needs as blobs or from Ray's object store, computes with `orchestrator.compression`, and returns
digests and figures. Which stage is run, or taken from the cache, is the driver's business.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping

from orchestrator.compression.checkpoint import save_checkpoint
from orchestrator.compression.data import Preprocessing
from orchestrator.compression.evaluation import evaluate_network
from orchestrator.compression.training.distillation import distill
from orchestrator.datasets import Features, SealedSplit, Split, Splits
from orchestrator.jobs.learning import learning_of
from orchestrator.jobs.orders import MADE_ON, DataFacts, NetworkRef, StudentOrder
from orchestrator.jobs.repair_data import (
    RepairData,
    ReturnedSample,
    divide_returned,
    mixed_calibration,
    raw_of_row,
    sample_of,
)
from orchestrator.jobs.stages import StageOutput
from orchestrator.jobs.user_code import build_network, load_splits
from orchestrator.jobs.worker import TaskContext, load_network
from orchestrator.spec import DataSpec
from protos import fleet_pb2

REPAIR_TRAIN_SAMPLES = 12_000
"""A repair rehearses what the student knew; it need not see all of it again, and shall end within a minute."""


def load_data(context: TaskContext, spec: DataSpec) -> tuple[DataFacts, Splits, SealedSplit]:
    """The facts, the splits without `certify`, and that under seal: only the certificate's task opens it."""
    context.set_up()
    splits = load_splits(spec.entrypoint, spec.args)
    return _facts(splits.digest(), splits.named()), splits.without_certify(), SealedSplit(splits.certify)


def load_returned(
    context: TaskContext, device_ids: list[str], splits: Splits, certify: SealedSplit, data_digest: str, seed: int
) -> tuple[DataFacts, Splits, RepairData]:
    """The facts, the splits for a repair of what learned from the data of `data_digest`, and the samples divided."""
    stored = context.control_plane().list_samples(device_ids)
    samples = [_returned(entry.sample, splits.features) for entry in stored]
    returned = divide_returned(samples, splits, certify.input_digests)
    repair_splits = dataclasses.replace(
        splits,
        train=sample_of(splits.train, REPAIR_TRAIN_SAMPLES, seed=seed),
        calibrate=mixed_calibration(splits.calibrate, returned.train, seed=seed),
    )
    digest = hashlib.sha256(f"{data_digest} {repair_splits.digest()} {returned.digest()}".encode()).hexdigest()
    divided = {"returned": returned.train, "returned held out": returned.held_out}
    return _facts(digest, {**repair_splits.named(), "certify": certify, **divided}), repair_splits, returned


def _returned(sample: fleet_pb2.Sample, features: Features | None) -> ReturnedSample:
    raw = raw_of_row(sample.float32, features) if features and sample.HasField("float32") else sample.raw
    return ReturnedSample(raw, sample.label)


def distill_student(
    context: TaskContext, order: StudentOrder, splits: Splits, returned: RepairData | None
) -> StageOutput:
    """Train the student under the teacher; with returned samples, on those too."""
    context.set_up()
    control_plane = context.control_plane()
    preprocessing = Preprocessing.of(splits)
    if order.start:
        student = load_network(NetworkRef(entrypoint=order.spec.entrypoint, checkpoint=order.start), control_plane)
    else:
        student = build_network(order.spec.entrypoint, seed=order.seed)
    learning = learning_of(order.spec, epochs=order.epochs, seed=order.seed, returned=returned)
    if learning is not None:
        distill(
            student,
            load_network(order.teacher, control_plane),
            splits.train,
            learning,
            preprocessing=preprocessing,
            extra=returned.train if returned else None,
            on_progress=context.report.part(0.0, 0.95),
        )
    metrics = {
        "accuracy": evaluate_network(student, splits.choose, preprocessing=preprocessing).accuracy,
        MADE_ON: context.made_on(),
    }
    if returned:
        judged = evaluate_network(student, returned.held_out, preprocessing=preprocessing)
        metrics["returned_accuracy"] = judged.accuracy
    return StageOutput(blobs={"checkpoint": control_plane.put_blob(save_checkpoint(student))}, metrics=metrics)


def _facts(digest: str, splits: Mapping[str, Split | SealedSplit]) -> DataFacts:
    return DataFacts(
        digest=digest,
        split_digests={name: split.digest() for name, split in splits.items()},
        counts={name: len(split) for name, split in splits.items()},
    )
