"""Trainings that are given up in their middle: never one that might still have become what was needed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.search.halting import MARGIN, hurdles

ACCURACY = st.floats(0.0, 1.0)
CURVES = st.integers(1, 6).flatmap(
    lambda epochs: st.lists(st.lists(ACCURACY, min_size=epochs, max_size=epochs), min_size=1, max_size=5)
)


def is_given_up(curve: list[float], asked: tuple[float, ...]) -> bool:
    return any(accuracy < hurdle for accuracy, hurdle in zip(curve, asked, strict=False))


@given(finished=CURVES, needed=ACCURACY)
def test_a_training_like_one_that_reached_what_is_needed_is_never_given_up(
    finished: list[list[float]], needed: float
) -> None:
    asked = hurdles(needed, finished)
    assert not any(is_given_up(curve, asked) for curve in finished if curve[-1] >= needed)


@given(finished=CURVES, needed=ACCURACY)
def test_the_last_epoch_has_no_hurdle_and_none_asks_for_more_than_is_needed(
    finished: list[list[float]], needed: float
) -> None:
    asked = hurdles(needed, finished)
    assert len(asked) == len(finished[0]) - 1
    assert all(hurdle <= needed - MARGIN for hurdle in asked)


def test_nothing_is_known_before_a_training_has_ended() -> None:
    assert hurdles(0.9, []) == ()


def test_a_training_that_lacks_more_than_any_other_gained_is_given_up() -> None:
    asked = hurdles(0.9, [[0.5, 0.7, 0.8], [0.6, 0.65, 0.8]])
    assert is_given_up([0.55, 0.73], asked)
    assert not is_given_up([0.6, 0.76], asked)
