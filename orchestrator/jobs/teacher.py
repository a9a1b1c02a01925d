"""Trains the teacher with Ray Train on N workers, each epoch's weights kept as a blob.

Rank 0 puts a checkpoint through the control plane's RPCs and records it as a stage of its own, so a worker, a driver or
a whole cluster that dies costs at most one epoch. Ray Train's own checkpoints are not used: they need a path that every
node has.
"""

from __future__ import annotations

import time
from typing import Any

import ray

from orchestrator.jobs.epochs import epoch_inputs, epochs_done
from orchestrator.jobs.errors import ClusterError, JobFailedError
from orchestrator.jobs.orders import MADE_ON, TeacherOrder
from orchestrator.jobs.stages import StageOutput, StageRecord
from orchestrator.jobs.worker import TaskContext

_RESTARTS_OF_WORKERS = 3
_EPOCH = "teacher-epoch"


def train_teacher(context: TaskContext, order: TeacherOrder, splits: ray.ObjectRef[Any]) -> StageOutput:
    """Run Ray Train to the last epoch; the driver waits.

    Raises:
        JobFailedError: the network or its training is at fault.
        ClusterError: workers kept dying.
    """
    import fsspec
    import pyarrow.fs
    from ray import train
    from ray.train.torch import TorchConfig, TorchTrainer

    # Ray Train wants a place for its own bookkeeping; in memory there is none to share among nodes or to clean up.
    nowhere = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fsspec.filesystem("memory")))
    trainer = TorchTrainer(
        _train_on_worker,
        train_loop_config={"context": context, "order": order, "splits": splits},
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=train.ScalingConfig(
            num_workers=order.spec.workers, use_gpu=False, resources_per_worker={"CPU": order.cpus_per_worker}
        ),
        run_config=train.RunConfig(
            name=f"teacher-{order.inputs.key()[:16]}",
            storage_path="/espalier",
            storage_filesystem=nowhere,
            failure_config=train.FailureConfig(max_failures=_RESTARTS_OF_WORKERS),
        ),
    )
    try:
        trainer.fit()
    except train.WorkerGroupError as error:
        cause = next(iter(error.worker_failures.values()), error)
        kind = ClusterError if isinstance(cause, ray.exceptions.RayError) else JobFailedError
        raise kind(f"training the teacher failed: {getattr(cause, 'cause', None) or cause}") from error
    except train.TrainingFailedError as error:
        raise ClusterError(f"training the teacher failed: {error}") from error
    record = context.control_plane().get_stage(epoch_inputs(_EPOCH, order.inputs, order.spec.epochs).key())
    if record is None:
        raise ClusterError("training ended without the checkpoint of its last epoch")
    return record.output


def _train_on_worker(config: dict[str, Any]) -> None:
    """Runs on each of the N workers."""
    from ray import train
    from ray.train.torch import prepare_model

    from orchestrator.compression.checkpoint import load_checkpoint, save_checkpoint
    from orchestrator.compression.data import Preprocessing
    from orchestrator.compression.evaluation import evaluate_network
    from orchestrator.compression.training.classifier import train_classifier
    from orchestrator.jobs.user_code import build_network

    context: TaskContext = config["context"]
    order: TeacherOrder = config["order"]
    context.set_up()
    control_plane = context.control_plane()
    rank, world_size = train.get_context().get_world_rank(), train.get_context().get_world_size()
    splits = ray.get(config["splits"])
    preprocessing = Preprocessing.of(splits)

    network = build_network(order.spec.entrypoint, seed=order.seed)
    # Ranks may look at different moments, but nobody writes an epoch before all have begun: they see the same.
    first_epoch, saved = epochs_done(control_plane, _EPOCH, order.inputs, order.spec.epochs)
    if saved is not None:
        load_checkpoint(network, control_plane.get_blob(saved.blobs["checkpoint"].digest))
    epoch_started = time.monotonic()

    def save(done: int) -> None:
        nonlocal epoch_started
        if rank == 0:
            blob = control_plane.put_blob(save_checkpoint(network))
            metrics: dict[str, Any] = {MADE_ON: context.made_on()}
            if done == order.spec.epochs:
                metrics["accuracy"] = evaluate_network(network, splits.choose, preprocessing=preprocessing).accuracy
            output = StageOutput(blobs={"checkpoint": blob}, metrics=metrics)
            inputs = epoch_inputs(_EPOCH, order.inputs, done)
            duration_s = time.monotonic() - epoch_started
            control_plane.put_stage(
                StageRecord(key=inputs.key(), name=f"teacher epoch {done}", output=output, duration_s=duration_s)
            )
        epoch_started = time.monotonic()

    if first_epoch == order.spec.epochs:
        if first_epoch == 0:
            save(0)
        return
    wrapped = prepare_model(network, parallel_strategy="ddp" if world_size > 1 else None)
    train_classifier(
        wrapped,
        splits.train,
        preprocessing=preprocessing,
        epochs=order.spec.epochs,
        batch_size=order.spec.batch_size,
        learning_rate=order.spec.learning_rate,
        seed=order.seed,
        rank=rank,
        world_size=world_size,
        first_epoch=first_epoch,
        on_progress=context.report.part(0.0, 0.98) if rank == 0 else None,
        on_epoch_end=save,
    )
