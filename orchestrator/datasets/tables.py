"""Rows of numbers as the data of a job.

Each feature is put on 256 steps of its own (`FeatureGrid`), and everything works on those: they are what a device makes
of the floats that an application sends, so training, evaluation and rules see what the device will see. A row is an
image of one pixel with a channel for each feature; networks take it as float32 [N, features, 1, 1] between -2 and 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.datasets.errors import DatasetFormatError
from orchestrator.datasets.feature_grid import FeatureGrid, Float32, first_not_finite
from orchestrator.datasets.splits import Features, Split, Splits

SHARES = (0.6, 0.1, 0.12, 0.18)
"""Of train, calibrate, choose and certify."""
_STEPS_PER_UNIT = 64


@dataclass(frozen=True, eq=False, kw_only=True)
class Table:
    """Rows with what stands in their columns.

    Attributes:
        rows: float32 [rows, features].
        classes: int64 [rows], an index into `labels` for each.
        features: names of the columns, all different.
        labels: names of the classes.
    """

    rows: Float32
    classes: npt.NDArray[np.int64]
    features: Sequence[str]
    labels: Sequence[str]

    def split(self, *, shares: tuple[float, float, float, float] = SHARES, seed: int = 0) -> Splits:
        """Four disjoint splits of these shares, drawn by `seed`; steps are spread by what is in `train`.

        Rows that fall on the same steps are one input to a device: the first split that has one of them gets them all.

        Raises:
            DatasetFormatError: rows, names and classes do not fit together, a value is not finite, or a split ends
                without rows.
        """
        self._check(shares)
        order = np.random.default_rng(seed).permutation(len(self.rows))
        x_NF, y_N = self.rows[order], self.classes[order]
        place_N = np.searchsorted(np.cumsum(shares)[:-1], np.arange(len(order)) / len(order), side="right")
        features = Features(names=tuple(self.features), grid=FeatureGrid.of(x_NF[place_N == 0]))
        inputs = features.codes(x_NF)
        distinct, which_N = np.unique(inputs, axis=0, return_inverse=True)
        first = np.full(len(distinct), len(shares) - 1)
        np.minimum.at(first, which_N.reshape(-1), place_N)
        place_N = first[which_N.reshape(-1)]
        parts = [Split(inputs[place_N == k], y_N[place_N == k]) for k in range(len(shares))]
        if not all(map(len, parts)):
            raise DatasetFormatError(f"{len(distinct)} distinct rows are too few for four splits of {shares}")
        train, calibrate, choose, certify = parts
        return Splits(
            train=train,
            calibrate=calibrate,
            choose=choose,
            certify=certify,
            labels=tuple(self.labels),
            mean=(128 / 255,) * len(self.features),
            std=(_STEPS_PER_UNIT / 255,) * len(self.features),
            features=features,
        )

    def _check(self, shares: tuple[float, ...]) -> None:
        if self.rows.ndim != 2 or self.classes.shape != self.rows.shape[:1]:
            raise DatasetFormatError(f"{self.rows.shape} rows and {self.classes.shape} classes do not fit together")
        if len(self.features) != self.rows.shape[1]:
            raise DatasetFormatError(f"{len(self.features)} names do not fit {self.rows.shape[1]} features")
        if min(shares) <= 0 or not np.isclose(sum(shares), 1.0):
            raise DatasetFormatError(f"shares of the splits are above 0 and together 1, found {shares}")
        broken = first_not_finite(self.rows)
        if broken is not None:
            raise DatasetFormatError(f"feature {self.features[broken]!r} is not finite for some row")
