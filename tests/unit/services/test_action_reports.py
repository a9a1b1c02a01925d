"""The law of action reports: repeats are harmless, what was said is not taken back, an end is an end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ConflictError
from orchestrator.records import ActionReport, ActionState
from orchestrator.store.actions import judge_report


def report(seq: int, state: ActionState) -> ActionReport:
    return ActionReport(action_id="a", device_id="d", generation=1, seq=seq, state=state)


def test_the_first_report_is_news() -> None:
    assert judge_report(None, report(4, ActionState.DOWNLOADING))


def test_a_repeat_is_no_news_and_no_error() -> None:
    assert not judge_report(report(2, ActionState.COMMITTED), report(2, ActionState.COMMITTED))


@pytest.mark.parametrize("end", [state for state in ActionState if state.is_terminal])
def test_an_end_is_an_end(end: ActionState) -> None:
    with pytest.raises(ConflictError, match="ended"):
        judge_report(report(2, end), report(3, ActionState.PROBATION))


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), st.sampled_from(ActionState), st.sampled_from(ActionState))
def test_going_back_or_contradicting_is_refused(before: int, seq: int, old: ActionState, new: ActionState) -> None:
    if seq < before or (seq == before and new is not old):
        with pytest.raises(ConflictError):
            judge_report(report(before, old), report(seq, new))
