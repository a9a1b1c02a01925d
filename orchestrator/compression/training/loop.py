"""The one training loop: SGD with Nesterov momentum under a one-cycle learning rate, seeded; divergence is an error.

What is minimised is the caller's. N samples per batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from orchestrator.compression.errors import TrainingError
from orchestrator.compression.progress import OnProgress

LossOfBatch = Callable[[Tensor], Tensor]  # sample indices, int64 [N], to a scalar loss


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long, in what steps, in which order.

    `rank` of `world_size` workers takes every world_size-th sample of the shared order. An interrupted run goes on at
    `first_epoch` with the learning rate it would have had; only the momentum is lost.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    weight_decay: float = 5e-4
    momentum: float = 0.9
    rank: int = 0
    world_size: int = 1
    first_epoch: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or not 0 <= self.first_epoch <= self.epochs:
            raise TrainingError(
                f"epochs must be at least 1 and first_epoch within them: {self.epochs}, {self.first_epoch}"
            )
        if self.batch_size < 2:
            raise TrainingError(f"batch_size must be at least 2 (batch norm needs a variance), found {self.batch_size}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise TrainingError(f"learning_rate must be finite and positive, found {self.learning_rate}")
        if not 0 <= self.rank < self.world_size:
            raise TrainingError(f"rank {self.rank} is not one of {self.world_size} workers")

    def batches(self, sample_count: int) -> Iterator[tuple[int, Tensor]]:
        """Yield (epoch, indices); every worker gets the same number of batches, so collective operations meet."""
        share = sample_count // self.world_size
        if share < 2:
            raise TrainingError(f"{sample_count} sample(s) are too few for {self.world_size} worker(s)")
        for epoch in range(self.first_epoch, self.epochs):
            order = torch.randperm(sample_count, generator=_generator(self.seed, epoch))
            mine = order[self.rank :: self.world_size][:share]
            for start in range(0, self.steps_per_epoch(sample_count) * self.batch_size, self.batch_size):
                yield epoch, mine[start : start + self.batch_size]

    def steps_per_epoch(self, sample_count: int) -> int:
        """A last batch of a single sample is left out: batch norm has no variance of one."""
        full, rest = divmod(sample_count // self.world_size, self.batch_size)
        return full + (rest >= 2)


def minimise(
    parameters: list[nn.Parameter],
    loss_of_batch: LossOfBatch,
    sample_count: int,
    schedule: Schedule,
    *,
    doing: str,
    on_progress: OnProgress | None = None,
    on_epoch_end: Callable[[int], None] | None = None,
) -> None:
    """Run the schedule.

    Args:
        on_progress: called about every hundredth of the work.
        on_epoch_end: called with the number of epochs that are done; where a worker saves its checkpoint.

    Raises:
        TrainingError: a loss is not finite; the parameters are then of no use.
    """
    steps_per_epoch = schedule.steps_per_epoch(sample_count)
    total = schedule.epochs * steps_per_epoch
    optimizer = torch.optim.SGD(
        parameters,
        lr=schedule.learning_rate,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
        nesterov=True,
    )
    step = schedule.first_epoch * steps_per_epoch
    for epoch, indices in schedule.batches(sample_count):
        optimizer.param_groups[0]["lr"] = schedule.learning_rate * one_cycle(step / total)
        loss = loss_of_batch(indices)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if not math.isfinite(loss.item()):
            raise TrainingError(f"{doing}: the loss became {loss.item()} in epoch {epoch + 1}; lower the learning rate")
        optimizer.step()
        step += 1
        if on_progress and (step % max(total // 100, 1) == 0 or step == total):
            on_progress(step / total, f"{doing}: epoch {epoch + 1}/{schedule.epochs}, loss {loss.item():.3f}")
        if on_epoch_end and step % steps_per_epoch == 0:
            on_epoch_end(epoch + 1)


def one_cycle(done: float) -> float:
    """Share of the peak learning rate when `done` of all steps is past: up for a fifth, then down a cosine to 0.1 %."""
    if done < 0.2:
        return 0.05 + 0.95 * done / 0.2
    return 0.001 + 0.999 * (1 + math.cos(math.pi * (done - 0.2) / 0.8)) / 2


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)
