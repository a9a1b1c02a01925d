"""Row 11: rules over what half of the network has computed answer what they are sure of, the network has the rest.

Lost against the same W8A8 network alone, paired over all test images. The share that rules answer is counted there too.
Networks are taken side by side, since nobody judges the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from compression_peers.bench import Bench, Published, Spent
from compression_peers.results import Figure, Outcome, Results
from compression_peers.row import OURS, Check, Row, at_least, at_most
from orchestrator.compression.artifact import Artifact
from orchestrator.compression.pipeline import compress
from orchestrator.compression.recipe import Recipe
from orchestrator.compression.rules.budget import RuleBudget
from orchestrator.compression.rules.editing import Editing
from orchestrator.compression.rules.network import distill_rules
from orchestrator.compression.rules.queries import Queries
from orchestrator.compression.rules.recipe import CascadeRecipe, RulesRecipe
from orchestrator.compression.rules.tap import run as answers_of

ALONE = "network alone"


@dataclass(frozen=True)
class Tap:
    """Where rules read: an operator, and the side that its map is averaged down to."""

    operator: str
    pool: int


TAPS = {"resnet8": Tap("add_1", 4), "ds-cnn": Tap("features.3.1.0", 3)}
BUDGET = RuleBudget(rules=192, trees=48, depth=3, queries=Queries.NONE, overgrow=1.0, revisit=False)


def run(bench: Bench) -> Iterator[Outcome | Figure]:
    subjects = [(subject.network, subject.seed) for subject in bench.subjects(ROW.networks)]
    for found, published in bench.side_by_side(_of, subjects):
        bench.published += published
        yield from found


def _of(bench: Bench, which: tuple[str, int]) -> tuple[list[Outcome | Figure], list[Published]]:
    """What was measured, and the cascade."""
    subject = bench.subject(*which)
    network = compress(subject.model, subject.data.splits, Recipe(), name=subject.network)
    alone = subject.judged(ROW.number, ALONE, lambda: network, publish=False)
    tap, splits = TAPS[subject.network], subject.data.splits
    recipe = RulesRecipe(
        budget=BUDGET,
        features=tap.operator,
        pool=tap.pool,
        samples=6_000 if bench.quick else 12_000,
        # Whether they answer half is the row's to judge. Samples that the network learnt make the bound strict enough.
        cascade=CascadeRecipe(least_answered=0.0, confidence=0.8),
    )
    spent = Spent()
    with spent:
        made = distill_rules(network, splits.train, splits.calibrate, recipe, seed=subject.seed)
    ours = subject.judged(ROW.number, OURS, lambda: made.artifact, before=spent)
    gate = answers_of(_gate_of(made.artifact), subject.data.test.inputs)[:, 0]
    label = f"{subject.network}, seed {subject.seed}: answered by rules"
    share = Figure(row=ROW.number, label=label, value=100 * float((gate > 0).mean()), unit="%")
    return [alone, ours, share], bench.published[-1:]


def _gate_of(cascade: Artifact) -> Artifact:
    """The same model, ending where it says who answers."""
    editing = Editing.of(cascade)
    return editing.finish(next(op.output for op in editing.model.operators if op.name == "rules.gate"))


def judge(results: Results, networks: Sequence[str]) -> list[Check]:
    checks = []
    for network in networks:
        seeds = [outcome.seed for outcome in results.find(ROW.number, network, OURS)]
        shares = [results.figure(ROW.number, f"{network}, seed {seed}: answered by rules") for seed in seeds]
        checks.append(at_least(f"{network}: % answered by rules", float(np.mean(shares)) if shares else 0.0, 50))
        lost, _ = results.lead(ROW.number, network, ALONE, OURS)
        checks.append(at_most(f"{network}: points lost against the network alone", lost, 0.3))
    return checks


ROW = Row(
    number=11,
    title="cascade",
    target="rules answer at least half of the inputs at no more than 0.3 point lost",
    quick=False,
    run=run,
    judge=judge,
)
