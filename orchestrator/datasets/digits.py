"""scikit-learn's 1,797 handwritten digits (8 x 8, UCI) as splits: small enough for every fast test.

Needs scikit-learn, which the `dev` extra has; nothing is downloaded.
"""

from __future__ import annotations

import numpy as np

from orchestrator.datasets.errors import DatasetUnavailableError
from orchestrator.datasets.splits import Split, Splits

MEAN = (0.305,)  # of the 16 grey levels scaled to 0..1
STD = (0.376,)


def load_digits(*, seed: int = 0) -> Splits:
    """Return the digits as about 1,000 / 200 / 250 / 340 disjoint samples; values 0..16 are spread over 0..255."""
    try:
        from sklearn.datasets import load_digits as load
    except ImportError as error:
        raise DatasetUnavailableError("the digits come with scikit-learn: pip install scikit-learn") from error
    bunch = load()
    levels = np.asarray(bunch.images)
    inputs = np.round(levels * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    _, first = np.unique(inputs.reshape(len(inputs), -1), axis=0, return_index=True)
    order = np.random.default_rng(seed).permutation(np.sort(first))
    everything = Split(inputs[order], np.asarray(bunch.target)[order].astype(np.int64))
    return Splits(
        train=everything.take(slice(0, 1000)),
        calibrate=everything.take(slice(1000, 1200)),
        choose=everything.take(slice(1200, 1450)),
        certify=everything.take(slice(1450, None)),
        labels=tuple(str(digit) for digit in range(10)),
        mean=MEAN,
        std=STD,
    )
