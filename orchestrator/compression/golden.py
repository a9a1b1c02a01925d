"""Chooses the inputs of golden vectors; the outputs are the reference engine's.

Random ones exercise every operator, saturating ones every clamp, a few real ones what the device will see.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_agent.runtime import make_golden
from edge_agent.runtime.interface import Engine

RANDOM_CASES = 4
REAL_CASES = 4


def golden_vectors(reference: Engine, samples: npt.NDArray[np.uint8], *, seed: int = 0) -> bytes:
    """Serialised golden vectors of `reference`; `samples` are real inputs, uint8 [N, H, W, C]."""
    shape = reference.graph.input_activation.shape
    rng = np.random.default_rng(seed)
    return make_golden(reference, raw=_raw_inputs(shape, samples, rng), float32=_float_inputs(reference, rng))


def _raw_inputs(shape: tuple[int, ...], samples: npt.NDArray[np.uint8], rng: np.random.Generator) -> list[bytes]:
    checkered = (np.indices(shape).sum(axis=0) % 2 * 255).astype(np.uint8)
    saturating = [np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), checkered]
    random = [rng.integers(0, 256, shape, np.uint8) for _ in range(RANDOM_CASES)]
    real = list(samples[:REAL_CASES])
    return [image.tobytes() for image in (*saturating, *random, *real)]


def _float_inputs(reference: Engine, rng: np.random.Generator) -> list[bytes]:
    activation = reference.graph.input_activation
    reach = activation.scale * 128
    random = [rng.normal(0, reach / 2, activation.shape) for _ in range(RANDOM_CASES)]
    saturating = [
        np.full(activation.shape, np.inf),
        np.full(activation.shape, -np.inf),
        rng.choice([-3e38, 3e38, 0.0], activation.shape),
    ]
    return [values.astype("<f4").tobytes() for values in (*random, *saturating)]
