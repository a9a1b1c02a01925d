"""The search of a job: anchors are measured on devices, tables say what to try, trials say what is on the front.

1. *Anchors*: each share of channels at the most bits. They are trials like any other, and agents of every target's
   class time them operator by operator, which gives the class's latency table.
2. *Seeds*: what quantization does to the answers (a divergence for each scheme and number of bits, without labels) and
   the anchors' losses add up to predictions; dynamic programming picks the front of those.
3. *Trials*, some at a time as Ray tasks: the seeds, then what Optuna proposes. What is known before training to exceed
   every target is not trained.
4. The best of the front for every target, and as many more points as are to be confirmed, go to the job's conclusion,
   which has them measured.

All that is made is a stage, and what is tried next depends on nothing but the seed and earlier answers: a job that died
walks the same way again and finds it done.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from orchestrator import records
from orchestrator.compression.errors import CompressionError
from orchestrator.jobs.class_tables import ClassTables
from orchestrator.jobs.conclusion import Made
from orchestrator.jobs.search_space import BITS, MACS, SCHEME, SearchSpace
from orchestrator.jobs.trials import TrialMaker
from orchestrator.policy.choice import choose, point_for, shortfalls
from orchestrator.records import Candidate, Measurement
from orchestrator.search.pareto import spread, worst_of
from orchestrator.search.samplers import tpe
from orchestrator.search.seeds import Part, seeds
from orchestrator.search.space import Configuration
from orchestrator.search.study import Study, Trial
from orchestrator.spec import SearchSpec, TargetSpec

logger = logging.getLogger(__name__)

AT_ONCE = 4
"""Trials beside each other. Not the number of CPUs: the way that a search takes must not depend on the cluster."""
SEEDED_SHARE = 0.5  # of the trials at most; the rest is the sampler's
SLACK = 0.1
"""By how much a prediction must exceed every target's limits before a trial is given up for it."""
NEAREST = 4  # points to measure where no trial met any target

MeasureModels = Callable[[Sequence[Made]], Mapping[str, list[Measurement]]]


@dataclass(frozen=True)
class Found:
    """What goes on to be measured, and the books."""

    made: tuple[Made, ...]
    search: records.Search


class ModelSearch:
    """`targets` have floors in place of drops; `measure` has models timed on devices, by digest of the model."""

    def __init__(
        self,
        spec: SearchSpec,
        targets: Sequence[TargetSpec],
        maker: TrialMaker,
        *,
        measure: MeasureModels,
        tell: Callable[[float, str], None],
        parallel_tasks: int,
        seed: int,
    ) -> None:
        self._spec, self._targets, self._maker, self._measure, self._tell = spec, targets, maker, measure, tell
        self._space = SearchSpace(spec.space)
        self._parallel_tasks, self._seed = parallel_tasks, seed
        self._made: dict[Configuration, Made] = {}  # candidates carry predicted measurements
        self._stopped: dict[Configuration, str] = {}
        self._tables = ClassTables({})
        self._baseline_us: dict[str, float] = {}

    def run(self) -> Found:
        ends_at = time.monotonic() + self._spec.budget
        anchors = self._anchors()
        space = self._space.space
        study = Study(
            space,
            tpe(space, objectives=3, constraints=1, seed=self._seed),
            trials=self._spec.trials,
            seeds=[*anchors, *self._seeds(anchors)],
            patience=self._spec.patience,
            seed=self._seed,
        )
        while not study.is_over and time.monotonic() < ends_at:
            for trial in self._try(study.ask(AT_ONCE)):
                study.tell(trial)
            self._tell(len(study.trials) / self._spec.trials, self._words(study))
        return self._found(study)

    # ---- tables

    def _anchors(self) -> list[Configuration]:
        """Made, measured, and turned into the tables that all others are judged by."""
        anchors = self._space.anchors()[: self._spec.trials]
        self._tell(0.0, f"{len(anchors)} anchors for the latency tables")
        self._make_all(anchors)
        made = [self._made[anchor] for anchor in anchors if anchor in self._made]
        if not made:
            reasons = "; ".join(dict.fromkeys(self._stopped.values()))
            raise CompressionError(f"no point of the search's space can be made: {reasons}")
        measured = self._measure(made)
        by_digest = {entry.candidate.model_digest: self._maker.signatures(entry.output) for entry in made}
        self._tables = ClassTables.of((by_digest[digest], measured[digest]) for digest in by_digest)
        for anchor in anchors:
            if anchor in self._made:
                self._predict(anchor)
        first = made[0].candidate.model_digest
        self._baseline_us = {m.device_class: m.latency_p50_us for m in measured[first]}
        return [anchor for anchor in anchors if anchor in self._made]

    def _seeds(self, anchors: Sequence[Configuration]) -> list[Configuration]:
        """By sums: what channels cost (measured at the anchors) and what bits cost (divergence, in nats as if they were
        accuracy: only the order of predictions matters). Bytes and time in proportion."""
        space = self._space.space
        names = [axis.name for axis in space.axes]
        schemes, bits = space.axes[names.index(SCHEME)].choices, space.axes[names.index(BITS)].choices
        picks = [(scheme, bit) for scheme in range(len(schemes)) for bit in range(len(bits))]
        self._tell(0.0, f"sensitivity to {len(picks)} ways to quantize")

        def divergence(pick: tuple[int, int]) -> float | None:
            try:
                return self._maker.divergence(self._space.quantize((*pick, 0)))
            except CompressionError:
                return None  # this one cannot be had on this network

        with self._pool() as pool:
            loss = dict(zip(picks, pool.map(divergence, picks), strict=True))
        parts = []
        for anchor in anchors:
            candidate = self._made[anchor].candidate
            for scheme in range(len(schemes)):
                known = [loss[scheme, bit] for bit in range(len(bits))]
                sizes = [candidate.model_bytes * bit / bits[0] for bit in bits]
                worst = max((entry for entry in known if entry is not None), default=0.0)
                options = [
                    (worst * 10 + 1.0 if entry is None else entry, 0.0, size)
                    for entry, size in zip(known, sizes, strict=True)
                ]
                parts.append(
                    Part(
                        fixed={SCHEME: scheme, MACS: anchor[names.index(MACS)]},
                        base=(1.0 - candidate.accuracy, self._slowness(candidate), 0.0),
                        options={BITS: options},
                    )
                )
        room = max(int(self._spec.trials * SEEDED_SHARE) - len(anchors), 0)
        return seeds(space, parts, room) if room else []

    # ---- trials

    def _try(self, configurations: Sequence[Configuration]) -> list[Trial]:
        """In the order asked, whatever ends first."""
        self._make_all(configurations)
        return [self._judged(configuration) for configuration in configurations]

    def _make_all(self, configurations: Sequence[Configuration]) -> None:
        new = [c for c in configurations if c not in self._made and c not in self._stopped]
        with self._pool() as pool:
            list(pool.map(self._make, new))

    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=self._parallel_tasks, thread_name_prefix="trial")

    def _make(self, configuration: Configuration) -> None:
        spec = self._space.candidate(configuration)
        try:
            hopeless = self._hopeless(configuration)
            if hopeless:
                self._stopped[configuration] = hopeless
                logger.info("trial %s is given up before training: %s", spec.name, hopeless)
                return
            self._made[configuration] = self._maker.candidate(spec)
            self._predict(configuration)
        except CompressionError as error:
            self._stopped[configuration] = str(error)[:1000]
            logger.info("trial %s cannot be made: %s", spec.name, error)

    def _hopeless(self, configuration: Configuration) -> str:
        """What every target has against it, known before it is trained; empty where it may do."""
        spec = self._space.candidate(configuration)
        is_anchor = not self._tables.by_class
        if is_anchor or spec.prune is None or not spec.prune.epochs:
            return ""
        outline = self._maker.outline(spec)
        perfect = Candidate(
            name=spec.name,
            model_digest="",
            accuracy=1.0,
            model_bytes=int(outline.metrics["model_bytes"]),
            peak_ram_bytes=int(outline.metrics["peak_ram_bytes"]),
        )
        perfect = self._with_predictions(perfect, self._maker.signatures(outline))
        if self._violation(perfect) <= SLACK:
            return ""
        nearest = min(self._targets, key=lambda target: self._violation_of(perfect, target))
        blocks = shortfalls(point_for(perfect, nearest.device_class), nearest)
        return f"{nearest.device_class}: " + "; ".join(shortfall.words for shortfall in blocks)

    def _predict(self, configuration: Configuration) -> None:
        made = self._made[configuration]
        candidate = self._with_predictions(made.candidate, self._maker.signatures(made.output))
        self._made[configuration] = replace(made, candidate=candidate)

    def _with_predictions(self, candidate: Candidate, signatures: tuple[str, ...]) -> Candidate:
        return replace(candidate, measurements=self._tables.predict(signatures, candidate.peak_ram_bytes))

    def _judged(self, configuration: Configuration) -> Trial:
        if configuration in self._stopped:
            return Trial(configuration=configuration, words=self._stopped[configuration])
        candidate = self._made[configuration].candidate
        return Trial(
            configuration=configuration,
            costs=(1.0 - candidate.accuracy, self._slowness(candidate), float(candidate.model_bytes)),
            violations=(self._violation(candidate),),
        )

    def _slowness(self, candidate: Candidate) -> float:
        """Predicted median against the first anchor's, on the class where that is worst."""
        ratios = [
            m.latency_p50_us / self._baseline_us[m.device_class]
            for m in candidate.measurements
            if self._baseline_us.get(m.device_class, 0.0) > 0
        ]
        return max(ratios, default=1.0)

    def _violation(self, candidate: Candidate) -> float:
        """Of the target that comes nearest: a model need not suit every class."""
        return min(self._violation_of(candidate, target) for target in self._targets)

    @staticmethod
    def _violation_of(candidate: Candidate, target: TargetSpec) -> float:
        point = point_for(candidate, target.device_class)
        if point.latency_p95_ms is None:  # no table: that limit waits for the measurement
            target = replace(target, latency_p95_ms=None)
        return sum(shortfall.share for shortfall in shortfalls(point, target))

    # ---- the end

    def _words(self, study: Study) -> str:
        stopped = sum(trial.is_stopped for trial in study.trials)
        words = f"trial {len(study.trials)} of {self._spec.trials}, {len(study.front())} on the front"
        return f"{words}, {stopped} given up early" if stopped else words

    def _found(self, study: Study) -> Found:
        front = study.front()
        names = {trial.configuration for trial in front}
        confirmed = self._to_confirm(study)
        trials = tuple(self._record(trial, trial.configuration in names) for trial in study.trials)
        ended = self._why(study)
        self._tell(0.999, f"{self._words(study)}; ended: {ended}")
        made = tuple(
            replace(entry, candidate=replace(entry.candidate, measurements=()))
            for entry in (self._made[trial.configuration] for trial in confirmed)
        )
        return Found(made, records.Search(trials_wanted=self._spec.trials, ended=ended, trials=trials))

    def _to_confirm(self, study: Study) -> list[Trial]:
        """The best for every target by what is predicted, then what spreads over the front; else the nearest."""
        front = study.front()
        if not front:
            return study.nearest(NEAREST)
        by_name = {self._made[trial.configuration].candidate.name: trial for trial in study.trials if trial.is_feasible}
        candidates = [self._made[trial.configuration].candidate for trial in by_name.values()]
        choices = choose(candidates, self._targets).classes
        best = [by_name[choice.chosen.name] for choice in choices if choice.chosen is not None]
        reference = worst_of((trial.costs for trial in front), margin=0.1)
        spreading = spread(front, lambda trial: trial.costs, self._spec.confirm, reference)
        room = max(self._spec.confirm, len({trial.configuration for trial in best}))
        return list({trial.configuration: trial for trial in (*best, *spreading)}.values())[:room]

    def _record(self, trial: Trial, on_front: bool) -> records.Trial:
        name = self._space.candidate(trial.configuration).name
        if trial.is_stopped:
            return records.Trial(name=name, stopped=trial.words)
        candidate = self._made[trial.configuration].candidate
        return records.Trial(
            name=name,
            accuracy=candidate.accuracy,
            model_bytes=candidate.model_bytes,
            peak_ram_bytes=candidate.peak_ram_bytes,
            latencies=tuple(
                records.PredictedLatency(device_class=m.device_class, latency_p95_us=m.latency_p95_us)
                for m in candidate.measurements
            ),
            on_front=on_front,
        )

    def _why(self, study: Study) -> str:
        if study.is_stalled:
            return f"{self._spec.patience} trials in a row brought nothing"
        if len(study.trials) == study.space.size:
            return f"the whole space of {study.space.size} was tried"
        if study.is_over:
            return f"{len(study.trials)} trials were made"
        return f"the budget of {self._spec.budget:g} s was used up"
