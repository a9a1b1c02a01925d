"""What a gate says about pairs that a device reported."""

from __future__ import annotations

import pytest

from orchestrator.policy.gates import Continue, Fail, Pass, slower_ratio, verdict
from orchestrator.records import Gate, PairCounts, RolloutTerms

TERMS = RolloutTerms()


def pairs(
    new: int = 0,
    old: int = 0,
    both: int = 0,
    wrong: int = 0,
    *,
    slower: int = 0,
    errors: int = 0,
    agree: int | None = None,
) -> PairCounts:
    total = new + old + both + wrong
    return PairCounts(
        pairs=total,
        agreements=both if agree is None else agree,
        slower=slower,
        both_correct=both,
        only_old_correct=old,
        only_new_correct=new,
        both_wrong=wrong,
        new_errors=errors,
    )


def test_without_pairs_or_with_few_it_goes_on() -> None:
    assert isinstance(verdict(None, Gate.NOT_WORSE, "accuracy", TERMS), Continue)
    few = verdict(pairs(new=20), Gate.BETTER, "accuracy", TERMS)
    assert isinstance(few, Continue)
    assert few.words == "20 of at least 50 pairs"


def test_a_device_with_nothing_to_compare_with_passes_once_it_is_active() -> None:
    assert isinstance(verdict(None, Gate.ACTIVATES, "accuracy", TERMS), Pass)


def test_a_repaired_device_passes_better() -> None:
    found = verdict(pairs(new=40, old=8, both=90, wrong=20), Gate.BETTER, "accuracy", TERMS)
    assert isinstance(found, Pass)
    assert "40 only new right, 8 only old right" in found.words


def test_equal_models_are_not_better_and_not_worse() -> None:
    equal = pairs(new=25, old=25, both=700, wrong=50)
    assert isinstance(verdict(equal, Gate.BETTER, "accuracy", TERMS), Continue)
    assert isinstance(verdict(equal, Gate.NOT_WORSE, "accuracy", TERMS), Pass)


def test_a_worse_model_fails_both_gates() -> None:
    worse = pairs(new=5, old=60, both=200, wrong=20)
    assert isinstance(verdict(worse, Gate.BETTER, "accuracy", TERMS), Fail)
    assert isinstance(verdict(worse, Gate.NOT_WORSE, "accuracy", TERMS), Fail)


def test_without_labels_rare_disagreement_shows_that_nothing_can_be_lost() -> None:
    agreeing = PairCounts(pairs=400, agreements=398)
    found = verdict(agreeing, Gate.NOT_WORSE, "accuracy", TERMS)
    assert isinstance(found, Pass)
    assert "disagree on 2 of 400" in found.words
    assert isinstance(verdict(PairCounts(pairs=400, agreements=360), Gate.NOT_WORSE, "accuracy", TERMS), Continue)


def test_a_slower_model_fails_though_it_is_more_accurate() -> None:
    found = verdict(pairs(new=60, old=5, both=90, slower=130), Gate.BETTER, "accuracy", TERMS)
    assert isinstance(found, Fail)
    assert "slower in 130 of 155 pairs" in found.words


def test_errors_fail_a_model_even_where_no_pair_was_ever_completed() -> None:
    assert isinstance(verdict(PairCounts(new_errors=60), Gate.NOT_WORSE, "accuracy", TERMS), Fail)


def test_too_many_errors_so_far_hold_a_pass_back() -> None:
    shaky = pairs(new=40, old=5, both=60, errors=7)
    found = verdict(shaky, Gate.BETTER, "accuracy", TERMS)
    assert isinstance(found, Continue)
    assert "7 errors in 112 requests so far" in found.words


def test_where_latency_is_the_goal_most_pairs_must_be_faster_and_accuracy_kept() -> None:
    faster = pairs(new=10, old=10, both=500, wrong=40, slower=60)
    assert isinstance(verdict(faster, Gate.BETTER, "latency", TERMS), Pass)
    same_speed = pairs(new=10, old=10, both=500, wrong=40, slower=280)
    assert isinstance(verdict(same_speed, Gate.BETTER, "latency", TERMS), Continue)
    faster_but_unsure = pairs(new=10, old=35, both=500, wrong=40, slower=60)
    assert not isinstance(verdict(faster_but_unsure, Gate.BETTER, "latency", TERMS), Pass)


def test_a_pair_counts_as_slower_at_any_ratio_where_latency_is_the_goal() -> None:
    assert slower_ratio(Gate.BETTER, "latency", TERMS) == 1.0
    assert slower_ratio(Gate.BETTER, "accuracy", TERMS) == TERMS.slower_ratio
    assert slower_ratio(Gate.NOT_WORSE, "latency", TERMS) == TERMS.slower_ratio


@pytest.mark.parametrize("tests", [1, 10, 1000])
def test_failing_takes_more_evidence_where_more_devices_are_judged(tests: int) -> None:
    clearly_worse = pairs(new=0, old=200, both=200, wrong=0)
    assert isinstance(verdict(clearly_worse, Gate.NOT_WORSE, "accuracy", TERMS, tests=tests), Fail)
    slightly_worse = pairs(new=8, old=40, both=150, wrong=10)
    outcome = verdict(slightly_worse, Gate.NOT_WORSE, "accuracy", TERMS, tests=tests)
    assert isinstance(outcome, Fail if tests == 1 else Continue)
