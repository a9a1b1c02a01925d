"""Ray tasks that make, time and certify compressed models, each by the very engine that devices run."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any

from torch import nn

from edge_agent.runtime import load_model
from edge_agent.runtime.interface import Engine
from edge_agent.runtime.model import parse_model
from edge_agent.runtime.profiling import PROFILED_RUNS, median_laps_us
from orchestrator.compression.artifact import Artifact
from orchestrator.compression.checkpoint import save_checkpoint
from orchestrator.compression.data import Preprocessing
from orchestrator.compression.evaluation import evaluate, evaluate_network, predict_logits
from orchestrator.compression.examination import CERTIFIED_CORRUPTION, Examination
from orchestrator.compression.pipeline import compress
from orchestrator.compression.prune import Importance, Pruning, prune_and_recover
from orchestrator.compression.prune.blocks import LEARNING, BlockPruning, Budget, prune_blocks_and_recover
from orchestrator.compression.training.objectives import Objective
from orchestrator.datasets import SealedSplit, Splits, concatenate
from orchestrator.jobs.control_plane import ControlPlane
from orchestrator.jobs.learning import learning_of
from orchestrator.jobs.orders import (
    CHECKPOINT,
    CURVE,
    GOLDEN,
    MADE_ON,
    MODEL,
    RECIPE,
    CandidateOrder,
    NetworkRef,
    PruneOrder,
    learning_after,
)
from orchestrator.jobs.quantized_training import QuantizedEpochs, recipe_for
from orchestrator.jobs.repair_data import RepairData
from orchestrator.jobs.rules_tasks import with_rules
from orchestrator.jobs.stages import Blob, StageOutput
from orchestrator.jobs.worker import TaskContext, load_network
from protos import model_pb2

TIMING_BUDGET_S = 30.0


def make_candidate(
    context: TaskContext, order: CandidateOrder, splits: Splits, returned: RepairData | None
) -> StageOutput:
    """Prune and train back, where asked; compress; judge on the choose split."""
    context.set_up()
    control_plane = context.control_plane()
    network = load_network(order.network, control_plane)
    fp32 = network if order.fp32 == order.network else load_network(order.fp32, control_plane)
    blobs = {}
    if order.spec.prune is not None:
        pruning = PruneOrder(
            spec=order.spec.prune,
            network=order.network,
            teacher=order.teacher,
            learning=order.learning,
            seed=order.seed,
        )
        network = pruned(context, pruning, network, splits, returned)
        blobs[CHECKPOINT] = control_plane.put_blob(save_checkpoint(network))
    recipe = recipe_for(order.spec.quantize, seed=order.seed)
    choose, preprocessing = splits.choose, Preprocessing.of(splits)

    def accuracy(judged: nn.Module) -> float:
        return evaluate_network(judged, choose, preprocessing=preprocessing).accuracy

    checkpoints = None
    if recipe.training is not None:
        checkpoints = QuantizedEpochs(
            control_plane, order.inputs, save_checkpoint(network), judge=accuracy, hurdles=order.hurdles
        )
        if returned:
            splits = dataclasses.replace(splits, train=concatenate(splits.train, returned.train))
    artifact = compress(
        network,
        splits,
        recipe,
        name=order.model_name,
        fp32=fp32,
        max_accuracy_drop=None,  # whether it may leave is each target's to say
        checkpoints=checkpoints,
        on_progress=context.report.part(0.5, 0.8),
    )
    recipe = artifact.recipe or recipe
    made_of_rules: dict[str, Any] = {}
    if order.spec.rules is not None:
        artifact, made_of_rules = with_rules(artifact, splits, order.spec.rules, seed=order.seed)
    engine = artifact.load()
    metrics: dict[str, Any] = {
        "accuracy": evaluate(engine, choose).accuracy,
        "fp32_accuracy": accuracy(fp32),
        "model_bytes": artifact.size_bytes,
        "peak_ram_bytes": engine.arena_bytes + engine.weight_bytes,
        RECIPE: recipe.to_json(),
        MADE_ON: context.made_on(),
        **made_of_rules,
    }
    if checkpoints is not None:
        metrics[CURVE] = checkpoints.curve
    if returned:
        metrics["returned_accuracy"] = evaluate(engine, returned.held_out).accuracy
    return StageOutput(blobs=blobs | put_artifact(control_plane, artifact), metrics=metrics)


def certify_models(
    context: TaskContext, model_digests: Sequence[str], teacher: NetworkRef, splits: Splits, certify: SealedSplit
) -> list[dict[str, Any]]:
    """What each model's examination by the certify split found, as plain data."""
    context.set_up()
    control_plane = context.control_plane()
    preprocessing = Preprocessing.of(splits)
    network = load_network(teacher, control_plane)
    certificates = []
    for digest in model_digests:
        examination = Examination(network, certify.open_for(digest), preprocessing=preprocessing)
        found = examination.of(_load_engine(control_plane, digest))
        worst = found.worst_class
        certificates.append(
            {
                **dataclasses.asdict(found.clean),
                "worst_class": {"name": _class_name(splits, worst.label), **dataclasses.asdict(worst)},
                "corrupted": {
                    "corruption": str(CERTIFIED_CORRUPTION),
                    "seed": CERTIFIED_CORRUPTION.seed,
                    **dataclasses.asdict(found.corrupted),
                },
            }
        )
    return certificates


def time_model(context: TaskContext, model_digest: str, warmup: int, runs: int) -> dict[str, Any]:
    """Time one model on the worker's own CPU, as an agent would on a device: single golden inputs in turn."""
    control_plane = context.control_plane()
    engine = _load_engine(control_plane, model_digest)
    assert engine.graph.golden is not None  # the format asks for golden vectors
    golden = model_pb2.GoldenVectors.FromString(control_plane.get_blob(engine.graph.golden.sha256.hex()))
    inputs = [case.raw for case in golden.cases if case.WhichOneof("input") == "raw"]
    latencies_us: list[float] = []
    ends_at = time.monotonic() + TIMING_BUDGET_S
    for run in range(-warmup, runs):
        if latencies_us and time.monotonic() > ends_at:
            break
        begun = time.perf_counter_ns()
        engine.infer_raw(inputs[run % len(inputs)])
        if run >= 0:
            latencies_us.append((time.perf_counter_ns() - begun) / 1000)
    latencies_us.sort()
    return {
        "engine_path": engine.path,
        "latency_p50_us": _quantile(latencies_us, 0.50),
        "latency_p95_us": _quantile(latencies_us, 0.95),
        "runs": len(latencies_us),
        "peak_ram_bytes": engine.arena_bytes + engine.weight_bytes,
        "operator_p50_us": median_laps_us(engine, [(True, x) for x in inputs], min(len(latencies_us), PROFILED_RUNS)),
    }


def _class_name(splits: Splits, label: int) -> str:
    return splits.labels[label] if splits.labels else str(label)


def pruned(
    context: TaskContext, order: PruneOrder, network: nn.Module, splits: Splits, returned: RepairData | None
) -> nn.Module:
    """Without channels, with blocks of zeros, or both; trained back under the teacher after each."""
    spec, preprocessing = order.spec, Preprocessing.of(splits)
    own = learning_after(spec, order.learning)
    learning = learning_of(own, epochs=spec.epochs, seed=order.seed, returned=returned)
    teacher = answers = None
    if learning is not None:
        teacher = load_network(order.teacher, context.control_plane())
        if learning.objective is not Objective.MATCHING:
            answers = predict_logits(teacher, splits.train.inputs, preprocessing)
    extra = returned.train if returned else None
    blocks_begin = 0.1
    if spec.removes_channels:
        blocks_begin = 0.3 if spec.block_sparsity is not None else 0.5
        network = prune_and_recover(
            network,
            splits.train,
            Pruning(
                macs_fraction=spec.macs_fraction or 1.0,
                weights_fraction=spec.weights_fraction or 1.0,
                importance=Importance(spec.importance),
                learning=learning,
                seed=order.seed,
            ),
            preprocessing=preprocessing,
            teacher=teacher,
            answers=answers,
            extra=extra,
            on_progress=context.report.part(0.1, blocks_begin),
        )
    if spec.block_sparsity is not None:
        network = prune_blocks_and_recover(
            network,
            splits.train,
            BlockPruning(
                sparsity=spec.block_sparsity,
                block_rows=spec.block_rows,
                budget=Budget(spec.block_budget),
                learning=learning
                and dataclasses.replace(learning, learning_rate=spec.learning_rate or LEARNING.learning_rate),
            ),
            preprocessing=preprocessing,
            teacher=teacher,
            answers=answers,
            extra=extra,
            on_progress=context.report.part(blocks_begin, 0.5),
        ).model
    return network


def put_artifact(control_plane: ControlPlane, artifact: Artifact) -> dict[str, Blob]:
    """Tensors first and the model last, so that a model that is there has all it refers to."""
    golden = parse_model(artifact.model).golden
    blobs = {}
    for index, (sha256, content) in enumerate(sorted(artifact.blobs.items())):
        name = GOLDEN if golden is not None and sha256 == golden.sha256 else f"tensor-{index:03}"
        blobs[name] = control_plane.put_blob(content)
    blobs[MODEL] = control_plane.put_blob(artifact.model)
    return blobs


def _load_engine(control_plane: ControlPlane, model_digest: str) -> Engine:
    model = control_plane.get_blob(model_digest)
    return load_model(model, lambda sha256: control_plane.get_blob(sha256.hex()))


def _quantile(ordered: Sequence[float], q: float) -> float:
    """The smallest value that at least a share q of all does not exceed."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]
