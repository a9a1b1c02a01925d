"""Ray tasks that only a search needs: a network without some of its channels, what it would weigh before it is trained,
and what quantizing at all does to a network's answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional

from orchestrator.compression.checkpoint import save_checkpoint
from orchestrator.compression.data import Preprocessing, images_to_tensor
from orchestrator.compression.evaluation import evaluate_network, predict_logits
from orchestrator.compression.pipeline import compress
from orchestrator.compression.quantize.network import quantize_network
from orchestrator.compression.recipe import Rounding
from orchestrator.datasets import Split, Splits
from orchestrator.jobs.compression_tasks import pruned, put_artifact
from orchestrator.jobs.orders import CHECKPOINT, MADE_ON, CandidateOrder, NetworkRef, PruneOrder
from orchestrator.jobs.quantized_training import recipe_for
from orchestrator.jobs.repair_data import RepairData
from orchestrator.jobs.stages import StageOutput
from orchestrator.jobs.worker import TaskContext, load_network
from orchestrator.spec import QuantizeSpec

TABLE_SAMPLES = 256
OUTLINE_SAMPLES = 16


def judge_teacher(context: TaskContext, teacher: NetworkRef, splits: Splits) -> StageOutput:
    """Its accuracy on the choose split: what accuracy drops are measured from."""
    context.set_up()
    network = load_network(teacher, context.control_plane())
    judged = evaluate_network(network, splits.choose, preprocessing=Preprocessing.of(splits))
    return StageOutput(metrics={"accuracy": judged.accuracy})


def prune_network(context: TaskContext, order: PruneOrder, splits: Splits, returned: RepairData | None) -> StageOutput:
    """The narrower network, trained back, as a checkpoint; one for all the ways it is quantized in."""
    context.set_up()
    control_plane = context.control_plane()
    network = pruned(context, order, load_network(order.network, control_plane), splits, returned)
    accuracy = evaluate_network(network, splits.choose, preprocessing=Preprocessing.of(splits)).accuracy
    return StageOutput(
        blobs={CHECKPOINT: control_plane.put_blob(save_checkpoint(network))},
        metrics={"accuracy": accuracy, MADE_ON: context.made_on()},
    )


def outline_candidate(context: TaskContext, order: CandidateOrder, splits: Splits) -> StageOutput:
    """Bytes, RAM and operators of a candidate without the training that only its accuracy depends on."""
    context.set_up()
    control_plane = context.control_plane()
    network = fp32 = load_network(order.network, control_plane)
    if order.spec.prune is not None:
        untrained = PruneOrder(
            spec=replace(order.spec.prune, epochs=0),
            network=order.network,
            teacher=order.teacher,
            learning=order.learning,
            seed=order.seed,
        )
        network = pruned(context, untrained, network, splits, None)
    recipe = replace(
        recipe_for(order.spec.quantize, seed=order.seed),
        rounding=Rounding.NEAREST,
        calibration_count=OUTLINE_SAMPLES,
        training=None,
    )
    artifact = compress(network, splits, recipe, name=order.model_name, fp32=fp32, max_accuracy_drop=None)
    engine = artifact.load()
    return StageOutput(
        blobs=put_artifact(control_plane, artifact),
        metrics={
            "model_bytes": artifact.size_bytes,
            "peak_ram_bytes": engine.arena_bytes + engine.weight_bytes,
        },
    )


def measure_divergence(
    context: TaskContext, network: NetworkRef, quantize: QuantizeSpec, splits: Splits
) -> StageOutput:
    """Mean KL (nats) from the float network's answers to the quantized one's, on `calibrate`; needs no labels."""
    context.set_up()
    preprocessing = Preprocessing.of(splits)
    module = load_network(network, context.control_plane())
    calibrate: Split = splits.calibrate.take(slice(0, TABLE_SAMPLES))
    quantized = quantize_network(module, calibrate, recipe_for(quantize, seed=0), preprocessing=preprocessing)
    output = quantized.grids[quantized.graph.output]
    with torch.no_grad():
        found = output.dequantize(quantized.run(images_to_tensor(calibrate.inputs, preprocessing)))
        wanted = predict_logits(module, calibrate.inputs, preprocessing)
        divergence = functional.kl_div(
            functional.log_softmax(found.flatten(1).to(torch.float64), dim=1),
            functional.log_softmax(wanted.flatten(1).to(torch.float64), dim=1),
            reduction="batchmean",
            log_target=True,
        )
    metrics: dict[str, Any] = {"divergence": max(float(divergence), 0.0)}
    return StageOutput(metrics=metrics)
