"""What the leaves say: values whose sum over the trees, through a softmax, comes closest to the teacher's
probabilities.

Cross entropy against soft labels with a ridge, that is, a multinomial logistic regression on the leaves as
indicators. Solved by gradient steps with momentum, each leaf scaled by a bound on its curvature (softmax's is at most
1/4, and T trees overlap), which needs no line search.
"""

from __future__ import annotations

import numpy as np

from orchestrator.compression.rules.forest import Float, Index

_MOMENTUM = 0.9
_STEP = 0.5


def softmax(z_NC: Float) -> Float:
    exponential = np.exp(z_NC - z_NC.max(axis=1, keepdims=True))
    return np.asarray(exponential / exponential.sum(axis=1, keepdims=True))


def refit(values_LC: Float, leaf_NT: Index, target_NC: Float, weight_N: Float, *, ridge: float, steps: int) -> Float:
    """Better values for L leaves; `leaf_NT` says which one each sample reaches in each of T trees."""
    leaves, classes = values_LC.shape
    trees = leaf_NT.shape[1]
    flat = leaf_NT.ravel()

    def to_leaves(values_N: Float) -> Float:
        return np.asarray(np.bincount(flat, np.repeat(values_N, trees), leaves))

    curvature = 0.25 * trees * to_leaves(weight_N) + ridge + 1e-3
    velocity = np.zeros_like(values_LC)
    for _ in range(steps):
        error_NC = (softmax(values_LC[leaf_NT].sum(axis=1)) - target_NC) * weight_N[:, np.newaxis]
        gradient = np.stack([to_leaves(error_NC[:, c]) for c in range(classes)], axis=1) + ridge * values_LC
        velocity = _MOMENTUM * velocity - gradient / curvature[:, np.newaxis]
        values_LC = values_LC + _STEP * velocity
    return values_LC
