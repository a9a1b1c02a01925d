"""When a training need not go on: it no longer reaches what is needed, going by the trainings that ended before it.

Under one schedule trainings gain late, as the learning rate falls, so an accuracy in the middle says little by itself.
What others gained from the same epoch to their ends says what may still come: not more than the most that any of them
gained, and a margin, since epochs scatter and the finished trainings are few.
"""

from __future__ import annotations

from collections.abc import Sequence

Curve = Sequence[float]
"""Accuracy (0..1) after each epoch of one training; the last is what it ended with."""

MARGIN = 0.01
"""Accuracy by which a training may be behind and still go on."""


def hurdles(needed: float, finished: Sequence[Curve]) -> tuple[float, ...]:
    """The least accuracy after each epoch but the last with which a training may still end at `needed`.

    Empty where none has finished: then nothing is known. `finished` have one length.
    """
    if not finished:
        return ()
    before_the_last = range(len(finished[0]) - 1)
    gains = [max(0.0, *(curve[-1] - curve[epoch] for curve in finished)) for epoch in before_the_last]
    return tuple(needed - gain - MARGIN for gain in gains)
