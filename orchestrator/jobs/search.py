"""The search of a job: anchors are measured on devices, tables say what to try, trials say what is on the front.

1. *Anchors*: each share of channels and blocks at the most bits. They are trials like any other, and agents of every
   target's class time them operator by operator, which gives the class's latency table.
2. *Seeds*: what quantization does to the answers (a divergence for each scheme and number of bits, without labels) and
   the anchors' losses add up to predictions; dynamic programming picks the front of those.
3. *Trials*, some at a time as Ray tasks: the seeds, then what the sampler proposes. What can be of no use any more is
   given up, before it is trained or in the middle of it; see `trial_gate`.
4. *Confirmation*: the best of the front for every target, or what came nearest to it, and as many more points as are to
   be confirmed are measured on devices. By how much tables were wrong corrects what is predicted of the others; where
   another is the best then, it is measured too. All that was measured goes to the job's conclusion.

All that is made is a stage, and what is tried next depends on nothing but the seed and earlier answers: a job that died
walks the same way again and finds it done.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

from orchestrator import records
from orchestrator.compression.errors import CompressionError
from orchestrator.jobs.class_tables import ClassTables
from orchestrator.jobs.conclusion import Made
from orchestrator.jobs.confirmation import Confirmation
from orchestrator.jobs.errors import TrialStoppedError
from orchestrator.jobs.measure import Measured
from orchestrator.jobs.search_seeds import predicted_parts
from orchestrator.jobs.search_space import SearchSpace
from orchestrator.jobs.trial_gate import Outliner, TrialGate
from orchestrator.jobs.trial_judge import TrialJudge
from orchestrator.search.additive import AdditiveSampler
from orchestrator.search.pareto import spread, worst_of
from orchestrator.search.seeds import seeds
from orchestrator.search.space import Configuration
from orchestrator.search.study import Study, Trial
from orchestrator.spec import CandidateSpec, QuantizeSpec, SearchSpec, TargetSpec

logger = logging.getLogger(__name__)

AT_ONCE = 4
"""Trials beside each other. Not the number of CPUs: the way that a search takes must not depend on the cluster."""
SEEDED_SHARE = 0.5  # of the trials at most; the rest is the sampler's
CONFIRMATIONS = 3
"""Rounds of measuring what would be chosen. Measured figures choose in any case; more rounds find what suits better."""
_WORDS = 1000

MeasureModels = Callable[[Sequence[Made]], Mapping[str, Measured]]


class Maker(Outliner, Protocol):
    """Makes what a search tries; see `trials.TrialMaker`. Each raises `CompressionError` for what cannot be made."""

    def divergence(self, quantize: QuantizeSpec) -> float: ...
    def candidate(self, spec: CandidateSpec, hurdles: Sequence[float]) -> Made:
        """`hurdles`: the accuracy that each epoch of a training must reach; TrialStoppedError where one does not."""
        ...


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
        maker: Maker,
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
        self._judge: TrialJudge | None = None  # until the anchors are measured

    def run(self) -> Found:
        ends_at = time.monotonic() + self._spec.budget
        anchors = self._space.anchors()[: self._spec.trials]
        judge = self._judge = self._measured(anchors)
        space = self._space.space
        study = Study(
            space,
            AdditiveSampler(space, seed=self._seed),
            trials=self._spec.trials,
            seeds=[*anchors, *self._seeds(judge, anchors)],
            patience=self._spec.patience,
            seed=self._seed,
        )
        while not study.is_over and (not study.trials or time.monotonic() < ends_at):
            asked = study.ask(AT_ONCE)
            self._make_all(asked)
            for configuration in asked:  # in this order, whatever ended first
                study.tell(self._judged(judge, configuration))
            self._tell(len(study.trials) / self._spec.trials, self._words(study))
        return self._found(judge, study)

    # ---- tables

    def _measured(self, anchors: Sequence[Configuration]) -> TrialJudge:
        """The anchors made, measured, and turned into the tables that all others are judged by."""
        self._tell(0.0, f"{len(anchors)} anchors for the latency tables")
        self._make_all(anchors)
        made = {anchor: self._made[anchor] for anchor in anchors if anchor in self._made}
        if not made:
            reasons = "; ".join(dict.fromkeys(self._stopped.values()))
            raise CompressionError(f"the search cannot begin, no share of channels can be made: {reasons}")
        measured = {digest: its.measurements for digest, its in self._measure(list(made.values())).items()}
        digests = {anchor: entry.candidate.model_digest for anchor, entry in made.items()}
        operators = {anchor: self._maker.signatures(entry.output) for anchor, entry in made.items()}
        tables = ClassTables.of((operators[anchor], measured[digest]) for anchor, digest in digests.items())
        widest = next(iter(made))
        judge = TrialJudge(self._targets, tables, {m.device_class: m.latency_p50_us for m in measured[digests[widest]]})
        for anchor, entry in made.items():
            candidate = judge.with_predictions(entry.candidate, operators[anchor])
            self._made[anchor] = replace(entry, candidate=candidate)
        return judge

    def _seeds(self, judge: TrialJudge, anchors: Sequence[Configuration]) -> list[Configuration]:
        """What is predicted to be on the front, for a share of the trials."""
        room = int(self._spec.trials * SEEDED_SHARE) - len(anchors)
        if room < 1:
            return []
        schemes, bits, *_ = (axis.choices for axis in self._space.space.axes)
        picks = [(scheme, bit) for scheme in range(len(schemes)) for bit in range(len(bits))]
        self._tell(0.0, f"sensitivity to {len(picks)} ways to quantize")
        with self._pool() as pool:
            divergences = dict(zip(picks, pool.map(self._divergence, picks), strict=True))
        costs = {anchor: judge.costs(self._made[anchor].candidate) for anchor in anchors if anchor in self._made}
        return seeds(self._space.space, predicted_parts(self._space, costs, divergences), room)

    def _divergence(self, pick: tuple[int, int]) -> float | None:
        try:
            return self._maker.divergence(replace(self._space.quantize((*pick, 0, 0)), training=None))
        except CompressionError:
            return None  # this one cannot be had on this network

    # ---- trials

    def _make_all(self, configurations: Iterable[Configuration]) -> None:
        new = [c for c in configurations if c not in self._made and c not in self._stopped]
        # All of a group are judged by what ended before it, whichever of them ends first.
        gate = TrialGate(self._judge, self._maker, list(self._made.values())) if self._judge else None
        with self._pool() as pool:
            list(pool.map(lambda configuration: self._make(configuration, gate), new))

    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=self._parallel_tasks, thread_name_prefix="trial")

    def _make(self, configuration: Configuration, gate: TrialGate | None) -> None:
        spec = self._space.candidate(configuration)
        try:
            made = self._maker.candidate(spec, gate.hurdles(spec) if gate else ())
            if gate is not None:
                candidate = gate.judge.with_predictions(made.candidate, self._maker.signatures(made.output))
                made = replace(made, candidate=candidate)
            self._made[configuration] = made
        except (CompressionError, TrialStoppedError) as error:
            self._stopped[configuration] = str(error)[:_WORDS]
            logger.info("trial %s is not made: %s", spec.name, error)

    def _judged(self, judge: TrialJudge, configuration: Configuration) -> Trial:
        if configuration in self._stopped:
            return Trial(configuration=configuration, words=self._stopped[configuration])
        candidate = self._made[configuration].candidate
        return Trial(
            configuration=configuration, costs=judge.costs(candidate), violations=(judge.violation(candidate),)
        )

    # ---- the end

    def _words(self, study: Study) -> str:
        stopped = sum(trial.is_stopped for trial in study.trials)
        words = f"trial {len(study.trials)} of {self._spec.trials}, {len(study.front())} on the front"
        return f"{words}, {stopped} given up early" if stopped else words

    def _found(self, judge: TrialJudge, study: Study) -> Found:
        on_front = {trial.configuration for trial in study.front()}
        trials = tuple(self._record(trial, trial.configuration in on_front) for trial in study.trials)
        made = self._confirmed(judge, study)
        ended = self._why(study)
        self._tell(1.0, f"{self._words(study)}; ended: {ended}")
        return Found(made, records.Search(trials_wanted=self._spec.trials, ended=ended, trials=trials))

    def _confirmed(self, judge: TrialJudge, study: Study) -> tuple[Made, ...]:
        """What was measured on devices: what targets would get, what they get once tables are corrected, and what
        spreads over the front."""
        made = {m.candidate.name: m for t in study.trials if (m := self._made.get(t.configuration))}
        confirmation = Confirmation((entry.candidate for entry in made.values()), judge)
        wanted = confirmation.for_targets()
        others = [name for name in self._spreading(study) if name not in wanted]
        wanted += others[: max(self._spec.confirm - len(wanted), 0)]
        confirmed: dict[str, Made] = {}
        for _ in range(CONFIRMATIONS):
            new = {name: made[name] for name in wanted if name not in confirmed}
            if not new:
                break
            confirmed |= new
            measured = self._measure(list(new.values()))
            for name, entry in new.items():
                confirmation.learn(name, measured[entry.candidate.model_digest])
            wanted = confirmation.for_targets()
        return tuple(entry.with_measurements(()) for entry in confirmed.values())

    def _spreading(self, study: Study) -> list[str]:
        """Names of points that cover the front, the most telling first."""
        front = study.front()
        reference = worst_of((trial.costs for trial in front), margin=0.1)
        chosen = spread(front, lambda trial: trial.costs, self._spec.confirm, reference)
        return [self._made[trial.configuration].candidate.name for trial in chosen]

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
