"""Torch-Pruning: global group Taylor importance, in small steps with gradients anew, until the budget is met."""

from __future__ import annotations

import torch

STEPS = 40
BATCH = 16


def prune(model, samples, labels, fraction: float):
    import torch_pruning as tp

    example = samples[:1]
    budget = tp.utils.count_ops_and_params(model, example)[0] * fraction
    (head,) = (m for m in model.modules() if isinstance(m, torch.nn.Linear))
    pruner = tp.pruner.BasePruner(
        model,
        example,
        importance=tp.importance.GroupTaylorImportance(),
        global_pruning=True,
        pruning_ratio=0.8,
        max_pruning_ratio=0.875,  # an eighth of a layer's channels always stays
        iterative_steps=STEPS,
        ignored_layers=[head],
    )
    for _ in range(STEPS):
        if tp.utils.count_ops_and_params(model, example)[0] <= budget:
            return model
        model.zero_grad()
        for x, y in zip(samples.split(BATCH), labels.split(BATCH), strict=True):
            torch.nn.functional.cross_entropy(model(x), y).backward()
        pruner.step()
    return model
