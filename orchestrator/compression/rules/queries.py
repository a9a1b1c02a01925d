"""Questions to the teacher where data is thin (TREPAN, Craven & Shavlik 1995): made-up samples that a set of samples
suggests.

A set is what reached one leaf, or everything. Both ways of making samples stay inside the leaf's box, whatever
conditions led there: each feature drawn on its own from the set (the product of the leaf's marginals), and points on
the line between two samples, which keep features that go together together.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import numpy as np

from orchestrator.compression.rules.forest import Float, Int8

Teacher = Callable[[Int8], Float]
"""Probabilities [N, C] for int8 features [N, F]."""


class Queries(StrEnum):
    """How made-up samples are drawn."""

    NONE = "none"
    MARGINALS = "marginals"
    BETWEEN = "between"


def draw(x_NF: Int8, count: int, how: Queries, rng: np.random.Generator) -> Int8:
    """`count` made-up samples within the box that `x_NF` spans."""
    samples, features = x_NF.shape
    if how is Queries.MARGINALS:
        return np.asarray(x_NF[rng.integers(0, samples, (count, features)), np.arange(features)])
    first, second = x_NF[rng.integers(0, samples, (2, count))].astype(np.float64)
    share = rng.random((count, 1))
    return np.asarray(np.rint(first + share * (second - first)).astype(np.int8))
