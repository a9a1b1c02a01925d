"""Rules in front of a network: what they are sure of they answer, the rest goes on.

How sure rules are is the largest of their class probabilities, softened by a temperature so that int8 tells sure from
very sure: a softmax whose table of exponentials has the temperature in it, then a rule table that passes where any
class exceeds a threshold. The threshold is the lowest of a descending sequence at which the accuracy lost against the
network, bounded from above with the stated confidence on samples that neither was made from, stays within the limit.
Going down until the first failure needs no correction for having looked several times (fixed-sequence testing, Maurer
et al. 1995).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.compression.certificate import accuracy_drop_upper
from orchestrator.compression.errors import FidelityError, RecipeError
from orchestrator.compression.rules.editing import Editing
from orchestrator.compression.rules.forest import Index, Int8
from orchestrator.compression.rules.values import softmax
from protos import model_pb2 as pb

_PASS, _FAIL = 127, -128
_SURE = 0.75  # where the temperature puts the median of the largest probability


@dataclass(frozen=True, kw_only=True)
class CascadeFit:
    """Attributes:
    threshold: int8; rules answer where the largest softened probability exceeds it.
    answered: share of the samples that rules answer.
    drop: accuracy lost against the network alone, as observed on those samples.
    drop_upper: its upper bound at the stated confidence.
    samples: how many there were.
    """

    threshold: int
    answered: float
    drop: float
    drop_upper: float
    samples: int

    def __str__(self) -> str:
        return (
            f"rules answer {100 * self.answered:.1f} % of {self.samples} samples and lose {100 * self.drop:.2f} points "
            f"(at most {100 * self.drop_upper:.2f})"
        )


def choose_temperature(scores_NC: Int8, scale: float) -> float:
    """The T at which the median of the largest probability is where int8 still has room above it."""
    low, high = 1e-2, 1e4
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        if np.median(softmax(scores_NC.astype(np.float64) * (scale / middle)).max(axis=1)) > _SURE:
            low = middle
        else:
            high = middle
    return high


def add_confidence(editing: Editing, answer: int, temperature: float) -> int:
    """Append the softened softmax of the rules' answer; returns its activation."""
    source = editing.model.activations[answer]
    steps = np.arange(256) * (source.scale / temperature)
    exponentials = np.floor(np.exp(-steps) * (2**32 - 1)).astype(np.uint32)
    table = editing.tensors.add("rules.confidence.table", exponentials)
    output = pb.Activation(name="rules.confidence", dtype=pb.INT8, shape=source.shape, scale=1 / 256, zero_point=-128)
    return editing.add("rules.confidence", [answer], output, softmax=pb.Softmax(table=table))


def add_gate(editing: Editing, confidence: int, threshold: int, order: Index) -> int:
    """Append the table that says whether any class exceeds `threshold`; returns the gate's activation.

    `order` are the classes, most frequent first.

    Raises:
        RecipeError: more classes than a rule may have conditions.
    """
    if len(order) > 64:
        raise RecipeError(f"a cascade's gate takes at most 64 classes, there are {len(order)}")
    # A condition leads to the next one and to a leaf: level by level that is condition, leaf, condition, leaf.
    words = [int(c) | (threshold + 128) << 16 | 1 << 24 for c in order]
    nodes = [words[0], *(word for following in words[1:] for word in (following, 0)), 0, 0]
    scores = np.full((len(order) + 1, 1), _PASS, np.int8)
    scores[-2] = _FAIL  # of the last condition's two leaves the lower one
    form = pb.Requantize(qmin=-128, qmax=127)
    form.shift = editing.tensors.add("rules.gate.shift", np.zeros(1, np.int8))
    kind = pb.RuleTable(
        nodes=editing.tensors.add("rules.gate.nodes", np.array(nodes, np.uint32)),
        scores=editing.tensors.add("rules.gate.scores", scores),
        trees=1,
        requantize=form,
    )
    output = pb.Activation(name="rules.gate", dtype=pb.INT8, shape=[1], scale=1.0)
    return editing.add("rules.gate", [confidence], output, rule_table=kind)


def add_select(editing: Editing, gate: int, answer: int, network: int, *, after: int, operators: int) -> int:
    """Append the select, and move what was added behind the operator that it reads, so that the gate comes first.

    Args:
        after: operators of the network that come before the rules.
        operators: how many the network has; the rest are the rules'.
    """
    model = editing.model
    source = model.activations[network]
    output = pb.Activation(
        name="rules.select", dtype=pb.INT8, shape=source.shape, scale=source.scale, zero_point=source.zero_point
    )
    ordered = list(model.operators)
    del model.operators[:]
    model.operators.extend([*ordered[:after], *ordered[operators:], *ordered[after:operators]])
    return editing.add("rules.select", [gate, answer, network], output, select=pb.Select(threshold=_PASS))


def fit_threshold(
    sure_N: Int8,
    rules_correct_N: npt.NDArray[np.bool_],
    network_correct_N: npt.NDArray[np.bool_],
    *,
    most_drop: float,
    least_answered: float,
    confidence: float,
) -> CascadeFit:
    """The lowest threshold that the bound allows; `sure_N` is the largest softened probability of each sample.

    Raises:
        FidelityError: too few samples would be answered; says how many, and what stands in the way.
    """
    best: CascadeFit | None = None
    for level in np.unique(sure_N)[::-1]:
        fit = _at(int(level) - 1, sure_N, rules_correct_N, network_correct_N, confidence)
        if fit.drop_upper > most_drop:
            return _require(best, fit, most_drop, least_answered)
        best = fit
    return _require(best, best, most_drop, least_answered)


def _at(
    threshold: int,
    sure_N: Int8,
    rules_correct_N: npt.NDArray[np.bool_],
    network_correct_N: npt.NDArray[np.bool_],
    confidence: float,
) -> CascadeFit:
    answers = sure_N > threshold
    gained = int((answers & rules_correct_N & ~network_correct_N).sum())
    lost = int((answers & ~rules_correct_N & network_correct_N).sum())
    samples = len(sure_N)
    upper = accuracy_drop_upper(
        samples=samples, only_model_correct=gained, only_teacher_correct=lost, confidence=confidence
    )
    return CascadeFit(
        threshold=threshold,
        answered=float(answers.mean()),
        drop=(lost - gained) / samples,
        drop_upper=upper,
        samples=samples,
    )


def _require(
    best: CascadeFit | None, next_one: CascadeFit | None, most_drop: float, least_answered: float
) -> CascadeFit:
    if best is not None and best.answered >= least_answered:
        return best
    answered = best.answered if best is not None else 0.0
    wanted = f"{100 * least_answered:.0f} % at no more than {100 * most_drop:.2f} points"
    stands = f"; the next step: {next_one}" if next_one is not None else ""
    raise FidelityError(
        f"rules may answer {100 * answered:.1f} % of the samples before the network, {wanted} were asked for{stands}. "
        "Give them features nearer to the answer, more rules, or more samples to prove the bound on",
        fidelity=answered,
        floor=least_answered,
    )
