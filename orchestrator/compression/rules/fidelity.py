"""How well rules follow their teacher, on samples that they were not made from: repeated cross-validation, and a
gate.

The gate is on the mean over all folds of all repeats; what is reported beside it is the worst repeat and the spread
between repeats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.compression.errors import DataError, FidelityError
from orchestrator.compression.rules.forest import Float, Index, Int8

Predict = Callable[[Int8], Index]
Fit = Callable[[Int8, Float, int], Predict]
"""Makes rules from features, the teacher's probabilities and a seed; gives what they predict on a device."""


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """Share of held-out samples with the teacher's class, from 0 to 1."""

    mean: float
    spread: float
    """Standard deviation between repeats."""
    worst_repeat: float
    folds: int
    repeats: int
    samples: int

    def __str__(self) -> str:
        if self.folds == 1:
            return f"{100 * self.mean:.1f} % of {self.samples} held-out samples"
        return (
            f"{100 * self.mean:.1f} % of {self.samples} held-out samples ({self.repeats} x {self.folds} folds, "
            f"spread {100 * self.spread:.1f}, worst {100 * self.worst_repeat:.1f})"
        )


def cross_validate(
    fit: Fit, x_NF: Int8, target_NC: Float, *, folds: int = 5, repeats: int = 3, seed: int = 0
) -> Fidelity:
    """Hold every sample out once in each repeat.

    Raises:
        DataError: there are fewer samples than folds.
    """
    if len(x_NF) < folds or folds < 2 or repeats < 1:
        raise DataError(f"{folds} folds need at least as many samples, and two folds; there are {len(x_NF)} samples")
    wanted_N = target_NC.argmax(axis=1)
    by_repeat = []
    for repeat in range(repeats):
        fold_N = np.random.default_rng((seed, repeat)).permutation(np.arange(len(x_NF)) % folds)
        followed = 0
        for fold in range(folds):
            inside, outside = np.flatnonzero(fold_N != fold), np.flatnonzero(fold_N == fold)
            predict = fit(x_NF[inside], target_NC[inside], seed + repeat * folds + fold)
            followed += int((predict(x_NF[outside]) == wanted_N[outside]).sum())
        by_repeat.append(followed / len(x_NF))
    return Fidelity(
        mean=float(np.mean(by_repeat)),
        spread=float(np.std(by_repeat, ddof=1)) if repeats > 1 else 0.0,
        worst_repeat=min(by_repeat),
        folds=folds,
        repeats=repeats,
        samples=len(x_NF),
    )


def held_out(followed_N: npt.NDArray[np.bool_]) -> Fidelity:
    """Of rules that were made once, on samples that they were not made from."""
    share = float(followed_N.mean())
    return Fidelity(mean=share, spread=0.0, worst_repeat=share, folds=1, repeats=1, samples=len(followed_N))


def require_fidelity(fidelity: Fidelity, *, floor: float, rules: int) -> None:
    """Raise `FidelityError` with the figures where the mean is below `floor`."""
    if fidelity.mean < floor:
        raise FidelityError(
            f"{rules} rules follow the teacher on {fidelity}, below the floor of {100 * floor:.1f} %; allow more rules "
            "or trees, give them features nearer to the answer, or lower the floor",
            fidelity=fidelity.mean,
            floor=floor,
        )
