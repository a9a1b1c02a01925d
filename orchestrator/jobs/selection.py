"""Chooses among the candidates of a job, ordinary or repair. Pure: what a choice is made by is `policy.choice`.

A repair is asked to be better where the world has changed without giving up what the model knew. So every candidate
must still meet the target's floor on the choose split, and among those the mean of the accuracies on the choose split
and on held-out returned samples decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from orchestrator.policy.choice import Choice, choose, keeps_accuracy
from orchestrator.records import Candidate, Measurement
from orchestrator.spec import CandidateSpec, PruneSpec, TargetSpec

NARROWER = 0.5  # of the multiply-accumulates that a candidate kept


def choose_for_repair(
    candidates: Sequence[Candidate], targets: Iterable[TargetSpec], returned_accuracy: Mapping[str, float]
) -> Choice:
    """Choose where `returned_accuracy` says, by candidate, how it does on held-out returned samples."""
    floors = list(targets)
    blended = [  # a mean over two worlds has no float network to be compared with
        replace(candidate, accuracy=(candidate.accuracy + returned_accuracy[candidate.name]) / 2, fp32_accuracy=None)
        for candidate in candidates
    ]
    by_name = {candidate.name: candidate for candidate in candidates}
    classes = []
    for target in floors:
        meeting = [candidate for candidate in blended if keeps_accuracy(by_name[candidate.name], target)]
        if meeting:
            narrowed = choose(meeting, [replace(target, accuracy_floor=0.0)]).classes[0]
        else:
            narrowed = choose(candidates, [target]).classes[0]
        plain = choose(candidates, [target]).classes[0]
        verdicts = {
            name: f"{narrowed.verdicts.get(name, plain.verdicts[name])}; accuracy {returned_accuracy[name]:.4f} on "
            "held-out returned samples"
            for name in by_name
        }
        chosen, words = None, narrowed.words
        if narrowed.chosen is not None:
            chosen = by_name[narrowed.chosen.name]
            # The mean decided, but what people read are the two accuracies it is of.
            alone = choose([chosen], [target]).classes[0].words
            words = f"{alone}, accuracy {returned_accuracy[chosen.name]:.4f} on held-out returned samples"
        classes.append(replace(narrowed, chosen=chosen, verdicts=verdicts, words=words))
    judged = []
    for candidate in candidates:
        chosen_for = tuple(c.device_class for c in classes if c.chosen and c.chosen.name == candidate.name)
        verdict = "; ".join(f"{choice.device_class}: {choice.verdicts[candidate.name]}" for choice in classes)
        judged.append(replace(candidate, chosen_for=chosen_for, verdict=verdict))
    return Choice(classes=tuple(classes), candidates=tuple(judged))


def with_narrower(candidates: Sequence[CandidateSpec]) -> tuple[CandidateSpec, ...]:
    """The candidates, and of each one that is pruned a narrower one; where none is, of each one a pruned one."""
    pruned = [candidate for candidate in candidates if candidate.prune is not None]
    names = {candidate.name for candidate in candidates}
    narrower = []
    for candidate in pruned or candidates:
        before = candidate.prune or PruneSpec()
        name = f"{candidate.name}-narrower"[:63]
        if name not in names:
            kept = 1.0 - 1e-9 if before.macs_fraction is None else before.macs_fraction
            prune = replace(before, macs_fraction=kept * NARROWER, epochs=max(before.epochs, 1))
            narrower.append(replace(candidate, name=name, prune=prune))
    return (*candidates, *narrower)


def targets_of(targets: Iterable[TargetSpec], device_class: str) -> tuple[TargetSpec, ...]:
    """Those that are for this class; its own where there is one, else the one for every class."""
    all_targets = tuple(targets)
    own = tuple(target for target in all_targets if target.device_class == device_class)
    return own or tuple(target for target in all_targets if target.device_class == "*") or all_targets


def baseline_p95_us(running: Sequence[Measurement], targets: Iterable[TargetSpec]) -> dict[str, float]:
    """By device class, the p95 of the model that is too slow, measured beside the candidates."""
    baseline = {}
    for target in targets:
        measured = [m.latency_p95_us for m in running if target.device_class in ("*", m.device_class)]
        if measured:
            baseline[target.device_class] = max(measured)
    return baseline
