"""What a candidate costs and which limits it exceeds, as far as tables say: how a search judges its trials. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.jobs.class_tables import ClassTables, Signatures
from orchestrator.policy.choice import point_for, shortfalls
from orchestrator.records import Candidate
from orchestrator.search.pareto import Costs
from orchestrator.spec import TargetSpec

SLACK = 0.1
"""By what share of its limits a prediction must miss every target before a trial is given up for it."""


@dataclass(frozen=True)
class TrialJudge:
    """`baseline_us`: by class, the median that slowness is measured against."""

    targets: Sequence[TargetSpec]
    tables: ClassTables
    baseline_us: Mapping[str, float]

    def with_predictions(self, candidate: Candidate, signatures: Signatures) -> Candidate:
        """Its predicted latency on every class in place of measurements."""
        return replace(candidate, measurements=self.tables.predict(signatures, candidate.peak_ram_bytes))

    def costs(self, candidate: Candidate) -> Costs:
        """Accuracy lost, slowness, bytes, RAM."""
        sizes = float(candidate.model_bytes), float(candidate.peak_ram_bytes)
        return (1.0 - candidate.accuracy, self.slowness(candidate), *sizes)

    def slowness(self, candidate: Candidate) -> float:
        """The median against the baseline's, on the class where that is worst."""
        ratios = [
            m.latency_p50_us / self.baseline_us[m.device_class]
            for m in candidate.measurements
            if self.baseline_us.get(m.device_class, 0.0) > 0
        ]
        return max(ratios, default=1.0)

    def violation(self, candidate: Candidate) -> float:
        """The summed shares by which it misses the target that comes nearest: a model need not suit every class."""
        return min(self._missed(candidate, target) for target in self.targets)

    def nearest(self, candidates: Iterable[Candidate], target: TargetSpec) -> list[Candidate]:
        """Those that miss this target by least come first, of equals the most accurate."""
        return sorted(candidates, key=lambda c: (self._missed(c, target), -c.accuracy, c.name))

    def hopeless(self, candidate: Candidate) -> str:
        """Why no target can take it though it kept the accuracy that it has now; empty where one may."""
        if self.violation(candidate) <= SLACK:
            return ""
        nearest = min(self.targets, key=lambda target: self._missed(candidate, target))
        blocks = shortfalls(point_for(candidate, nearest.device_class), nearest)
        return f"{nearest.device_class}: {'; '.join(shortfall.words for shortfall in blocks)}"

    def accuracy_needed(self, candidate: Candidate, others: Iterable[Candidate]) -> float:
        """Below this accuracy no target takes `candidate`, or one of `others` is better at no more cost."""
        hopeful = [target.accuracy_floor for target in self.targets if self._missed(candidate, target) <= SLACK]
        costs = self.costs(candidate)[1:]
        ahead = [
            other.accuracy
            for other in others
            if all(its <= own for its, own in zip(self.costs(other)[1:], costs, strict=True))
        ]
        return max([min(hopeful, default=0.0) * (1 - SLACK), *ahead])

    @staticmethod
    def _missed(candidate: Candidate, target: TargetSpec) -> float:
        point = point_for(candidate, target.device_class)
        if point.latency_p95_ms is None:  # no table knows it: that limit waits for the measurement
            target = replace(target, latency_p95_ms=None)
        return sum(shortfall.share for shortfall in shortfalls(point, target))
