"""The best condition for a set of samples: every feature and every int8 threshold at once, from histograms.

The gain of a condition is what it takes off the weighted squared error of the residuals r [N, C] when each side gets
its own mean: ||sum r w||^2 / sum w of both sides, less that of the whole (Breiman et al. 1984; for soft labels it is
their Gini index). Among equal neighbouring thresholds the middle one is taken: the widest margin that the data
leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.compression.rules.forest import Condition, Float, Int8

_LEVELS = 256
_BLOCK_VALUES = 1 << 21  # of a histogram over classes, so that many raw features do not need much memory at once


@dataclass(frozen=True, slots=True)
class Split:
    gain: float
    condition: Condition


def best_split(x_NF: Int8, residual_NC: Float, weight_N: Float, *, least_weight: float) -> Split | None:
    """The condition with the highest gain that leaves `least_weight` on both sides; None where there is none."""
    features, classes = x_NF.shape[1], residual_NC.shape[1]
    block = max(1, _BLOCK_VALUES // (_LEVELS * classes))
    found = [
        _best_of(x_NF[:, first : first + block], residual_NC, weight_N, least_weight, first)
        for first in range(0, features, block)
    ]
    return max((split for split in found if split is not None), key=lambda split: split.gain, default=None)


def _best_of(x_NF: Int8, residual_NC: Float, weight_N: Float, least_weight: float, first: int) -> Split | None:
    features = x_NF.shape[1]
    bins = (x_NF.astype(np.intp) + 128 + _LEVELS * np.arange(features)).ravel()

    def below(values_N: Float) -> Float:
        """Sum of `values_N` over the samples at or below each threshold: [F, 256]."""
        counted = np.bincount(bins, np.repeat(values_N, features), features * _LEVELS)
        return np.asarray(counted.reshape(features, _LEVELS).cumsum(axis=1))

    weight = below(weight_N)
    sums = np.stack([below(weight_N * column) for column in residual_NC.T], axis=-1)
    all_weight, all_sums = weight[:, -1:], sums[:, -1:]
    gain = _score(sums, weight) + _score(all_sums - sums, all_weight - weight) - _score(all_sums, all_weight)
    gain[(weight < least_weight) | (all_weight - weight < least_weight)] = -np.inf
    feature, threshold = divmod(int(gain.argmax()), _LEVELS)
    best = float(gain[feature, threshold])
    if not np.isfinite(best):
        return None
    last = threshold
    while last + 1 < _LEVELS and weight[feature, last + 1] == weight[feature, threshold]:
        last += 1
    return Split(best, Condition(first + feature, (threshold + last) // 2 - 128))


def _score(sums: Float, weight: Float) -> Float:
    return np.asarray((sums**2).sum(axis=-1) / np.maximum(weight, 1e-12))
