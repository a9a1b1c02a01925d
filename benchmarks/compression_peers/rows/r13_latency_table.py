"""Row 13: what the latency table says of models that it was not made from, beside what they take.

A configuration picks a share of the channels of each group, bits and a scheme. The table is made of other
configurations, as few as hold every operator that is asked about. Each model is timed in many short rounds, all models
in each round, so that whatever the machine does meanwhile falls on all of them alike. What it does only adds, for some
rounds a third: the lower quartile counts.

Beside it stands what a job's search makes do with: the same share for all groups, a table of only its anchors, which
have 8 bits and multipliers, and all the other bits and schemes predicted by them.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from compression_peers.bench import Bench, Subject
from compression_peers.results import Figure, Results
from compression_peers.row import Check, Row, at_least
from compression_peers.widths import Widths
from edge_agent.runtime.engine import Engine
from orchestrator.compression.artifact import Artifact
from orchestrator.compression.pipeline import compress
from orchestrator.compression.recipe import Recipe, Rounding, Scheme
from orchestrator.search.latency import LatencyTable, OperatorTimes, signatures
from orchestrator.search.timing import time_operators

CONFIGURATIONS = 100
SHARES = (1.0, 0.75, 0.5)
BITS = (8, 4)
WITHIN = 0.10
ROUNDS, RUNS = 25, 40
MOST_FOR_TABLE = 400  # tried for the table; each that adds an operator is kept

Configuration = tuple[tuple[float, ...], int, Scheme]


@dataclass(frozen=True, eq=False)
class Timed:
    """A model and the medians of each round."""

    engine: Engine
    rounds: list[OperatorTimes]

    def times(self) -> OperatorTimes:
        """Lower quartiles over the rounds."""
        return OperatorTimes(
            signatures=self.rounds[0].signatures,
            laps_us=tuple(_quartile(laps) for laps in zip(*(r.laps_us for r in self.rounds), strict=True)),
            whole_us=_quartile([r.whole_us for r in self.rounds]),
        )


def run(bench: Bench) -> Iterator[Figure]:
    for subject in bench.subjects(ROW.networks, bench.seeds[:1]):
        subject.say("row 13, building models for the table")
        drawn = _draw(subject, random.Random(subject.seed), CONFIGURATIONS + MOST_FOR_TABLE)
        anchors, others = _uniform(subject)
        asked = [*anchors, *others, *drawn]
        made = bench.side_by_side(_made, [(subject.network, each) for each in asked])
        anchored, other, judged = (
            [Timed(artifact.load(), []) for artifact in islice(made, count)]
            for count in (len(anchors), len(others), CONFIGURATIONS)
        )
        wanted = {key for timed in judged for key in signatures(timed.engine.graph)}
        known = _covering(made, wanted)
        made.close()  # no worker builds what nobody needs while others are timed
        _time_all(subject, [*anchored, *other, *judged, *known])
        errors = _errors(known, judged)
        within = sum(error <= WITHIN for error in errors)
        yield Figure(row=13, label=f"{subject.network}: within 10 %", value=100 * within / len(errors), unit="%")
        yield Figure(row=13, label=f"{subject.network}: largest error", value=100 * max(errors), unit="%")
        yield Figure(row=13, label=f"{subject.network}: median error", value=100 * statistics.median(errors), unit="%")
        yield Figure(row=13, label=f"{subject.network}: models in the table", value=len(known))
        largest = 100 * max(_errors(anchored, other))
        yield Figure(row=13, label=f"{subject.network}: largest error, by a job's anchors", value=largest, unit="%")


def judge(results: Results, networks: Sequence[str]) -> list[Check]:
    return [
        at_least(f"{network}: % of {CONFIGURATIONS} within 10 %", results.figure(13, f"{network}: within 10 %"), 95)
        for network in networks
    ]


def _quartile(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=4)[0]


def _errors(known: Sequence[Timed], judged: Sequence[Timed]) -> list[float]:
    """How far a table of `known` is off for each of `judged`, as a share of what that takes."""
    table = LatencyTable.of(timed.times() for timed in known)
    pairs = [(table.predict_us(times.signatures), times.whole_us) for times in (timed.times() for timed in judged)]
    return [abs(predicted_us - whole_us) / whole_us for predicted_us, whole_us in pairs]


def _uniform(subject: Subject) -> tuple[list[Configuration], list[Configuration]]:
    """With one share for all groups: the anchors of a job's search, and what it does not measure first."""
    ways = [(bits, scheme) for bits in BITS for scheme in Scheme]
    measured = (max(BITS), Scheme.INTEGER)
    widths = [(share,) * len(_widths(subject)) for share in SHARES]
    anchors = [(shares, *measured) for shares in widths]
    return anchors, [(shares, *way) for shares in widths for way in ways if way != measured]


def _draw(subject: Subject, rng: random.Random, count: int) -> list[Configuration]:
    """Distinct ones."""
    groups = len(_widths(subject))
    drawn: dict[Configuration, None] = {}
    while len(drawn) < count:
        shares = tuple(rng.choice(SHARES) for _ in range(groups))
        drawn[shares, rng.choice(BITS), rng.choice(list(Scheme))] = None
    return list(drawn)


def _covering(made: Iterator[Artifact], wanted: set[str]) -> list[Timed]:
    """Of models that nobody asks about, until every operator that is asked about is in one of them."""
    kept: list[Timed] = []
    missing = set(wanted)
    for artifact in made:
        engine = artifact.load()
        found = missing & set(signatures(engine.graph))
        if found:
            kept.append(Timed(engine, []))
            missing -= found
        if not missing:
            break
    return kept


def _made(bench: Bench, wanted: tuple[str, Configuration]) -> Artifact:
    """Time does not depend on what the weights are, so hardly any care is taken to make them good."""
    network, (shares, bits, scheme) = wanted
    subject = bench.subject(network, bench.seeds[0])
    model = _widths(subject).narrowed(shares)
    recipe = Recipe(scheme=scheme, weight_bits=bits, rounding=Rounding.NEAREST, calibration_count=4)
    splits = replace(subject.data.splits, calibrate=subject.data.splits.calibrate.take(slice(0, 4)))
    return compress(model, splits, recipe, name=subject.network, max_accuracy_drop=None)


def _time_all(subject: Subject, models: Sequence[Timed]) -> None:
    inputs = [image.tobytes() for image in subject.data.test.inputs[:8]]
    for number in range(ROUNDS):
        subject.say(f"row 13, timing {len(models)} models, round {number + 1} of {ROUNDS}")
        for timed in models:
            timed.rounds.append(time_operators(timed.engine, inputs, runs=RUNS))


def _widths(subject: Subject) -> Widths:
    height, width, channels = subject.data.splits.train.sample_shape
    return subject.bench.kept(
        ("widths", subject.network, subject.seed), lambda: Widths(subject.model, (channels, height, width))
    )


ROW = Row(
    number=13,
    title="latency table",
    target="within 10 % of the measured model for 95 % of 100 configurations",
    quick=True,
    run=run,
    judge=judge,
)
