"""Judges one device's probation: the new model against the old one on the same requests.

A verdict is final in one direction only where the evidence is: `Continue` says what is missing. Nothing here knows
about time; a device that gets no verdict reverts by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.policy.sequential import Fraction, PairedDifference
from orchestrator.records import Gate, PairCounts, RolloutTerms


@dataclass(frozen=True)
class Continue:
    words: str


@dataclass(frozen=True)
class Pass:
    words: str


@dataclass(frozen=True)
class Fail:
    words: str


Verdict = Continue | Pass | Fail


def verdict(pairs: PairCounts | None, gate: Gate, goal: str, terms: RolloutTerms, *, tests: int = 1) -> Verdict:
    """What the pairs say so far.

    Args:
        goal: what BETTER means, "accuracy" or "latency".
        tests: how many devices are judged side by side. A false `Fail` on any of them rolls all of them back, so each
            may err that much less often; a false `Pass` is the matter of one device.

    A pass at level alpha needs all of: what the gate asks for, shown; the share of slower pairs shown to be below the
    limit; no more errors than the limit. Accuracy that is not worse can be shown in two ways, at alpha / 2 each: by
    labels, or, where applications give none, by the two models disagreeing on fewer requests than the margin (a request
    on which they agree cannot lose accuracy).
    """
    if gate is Gate.ACTIVATES:
        return Pass("activated; nothing to compare with")
    if pairs is None:
        return Continue("no pairs yet")
    attempts = pairs.pairs + pairs.new_errors
    if attempts < terms.min_pairs:
        return Continue(f"{attempts} of at least {terms.min_pairs} pairs")
    failure = _failure(pairs, terms, terms.alpha / tests)
    if failure:
        return Fail(failure)
    asked = _better(pairs, goal, terms) if gate is Gate.BETTER else _not_worse(pairs, terms)
    if isinstance(asked, Fail | Continue):
        return asked
    missing = _missing_guards(pairs, terms)
    return Continue(f"{asked.words}; {missing}") if missing else asked


def slower_ratio(gate: Gate, goal: str, terms: RolloutTerms) -> float:
    """What a pair counts as slower by. Where latency itself is the goal, any slower pair counts against the model."""
    return 1.0 if gate is Gate.BETTER and goal == "latency" else terms.slower_ratio


def _failure(pairs: PairCounts, terms: RolloutTerms, alpha: float) -> str:
    errors = Fraction(pairs.new_errors, pairs.pairs + pairs.new_errors)
    if errors.shown_above(terms.max_error_rate, alpha):
        return f"{errors.hits} errors in {errors.total} requests: more than {terms.max_error_rate:.1%}"
    slower = Fraction(pairs.slower, pairs.pairs)
    if slower.shown_above(terms.max_slower_fraction, alpha):
        return f"slower in {slower.hits} of {slower.total} pairs: more than {terms.max_slower_fraction:.0%}"
    difference = _difference(pairs)
    if difference.shown_below(-terms.non_inferiority_margin, alpha):
        return f"worse by more than {terms.non_inferiority_margin:.3f}: {_difference_words(difference, alpha)}"
    return ""


def _better(pairs: PairCounts, goal: str, terms: RolloutTerms) -> Verdict:
    difference = _difference(pairs)
    if goal == "latency":
        faster = Fraction(pairs.slower, pairs.pairs)
        if not faster.shown_below(0.5, terms.alpha):
            return Continue(f"slower in {faster.hits} of {faster.total} pairs, not yet shown faster in most")
        kept = _not_worse(pairs, terms)
        if not isinstance(kept, Pass):
            return kept
        return Pass(f"faster in most pairs ({faster.hits} of {faster.total} slower); {kept.words}")
    if difference.shown_below(0.0, terms.alpha):
        return Fail(f"worse, not better: {_difference_words(difference, terms.alpha)}")
    if difference.shown_above(0.0, terms.alpha):
        return Pass(f"better: {_difference_words(difference, terms.alpha)}")
    return Continue(f"not yet shown better: {_difference_words(difference, terms.alpha)}")


def _not_worse(pairs: PairCounts, terms: RolloutTerms) -> Verdict:
    margin, alpha = terms.non_inferiority_margin, terms.alpha / 2.0
    difference = _difference(pairs)
    if difference.shown_above(-margin, alpha):
        return Pass(f"not worse by more than {margin:.3f}: {_difference_words(difference, alpha)}")
    disagreements = Fraction(pairs.pairs - pairs.agreements, pairs.pairs)
    if disagreements.shown_below(margin, alpha):
        words = f"the models disagree on {disagreements.hits} of {disagreements.total} requests"
        return Pass(f"not worse by more than {margin:.3f}: {words}")
    return Continue(f"not yet shown not worse by more than {margin:.3f}: {_difference_words(difference, alpha)}")


def _missing_guards(pairs: PairCounts, terms: RolloutTerms) -> str:
    errors = Fraction(pairs.new_errors, pairs.pairs + pairs.new_errors)
    if errors.estimate > terms.max_error_rate:
        return f"{errors.hits} errors in {errors.total} requests so far"
    slower = Fraction(pairs.slower, pairs.pairs)
    if not slower.shown_below(terms.max_slower_fraction, terms.alpha):
        return f"slower in {slower.hits} of {slower.total} pairs: not yet shown to be few"
    return ""


def _difference(pairs: PairCounts) -> PairedDifference:
    return PairedDifference(
        only_new=pairs.only_new_correct, only_old=pairs.only_old_correct, same=pairs.both_correct + pairs.both_wrong
    )


def _difference_words(difference: PairedDifference, alpha: float) -> str:
    if not difference.total:
        return "no labels yet"
    low, high = difference.bounds(alpha)
    return (
        f"accuracy {difference.estimate:+.3f} (between {low:+.3f} and {high:+.3f}) on {difference.total} labelled "
        f"pairs, {difference.only_new} only new right, {difference.only_old} only old right"
    )
