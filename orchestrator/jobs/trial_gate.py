"""What keeps a trial from being made, or from being trained to its end: that it can be of no use any more.

Bytes, RAM and operators do not depend on training, so what misses every target by them is not trained; what pruning
left too little of is not quantized; and a training while quantized goes on as long as it may still end better than what
costs no more, and well enough for a target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from orchestrator.jobs.conclusion import Made
from orchestrator.jobs.errors import TrialStoppedError
from orchestrator.jobs.orders import CURVE
from orchestrator.jobs.stages import StageOutput
from orchestrator.jobs.trial_judge import TrialJudge
from orchestrator.records import Candidate
from orchestrator.search.halting import hurdles
from orchestrator.spec import CandidateSpec


class Outliner(Protocol):
    """What can be known of a candidate before it is made; see `trials.TrialMaker`."""

    def outline(self, spec: CandidateSpec) -> StageOutput: ...
    def pruned_accuracy(self, spec: CandidateSpec) -> float: ...
    def signatures(self, output: StageOutput) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class TrialGate:
    """`ended` are the candidates that were made before; which they are must not depend on what runs beside a trial."""

    judge: TrialJudge
    outliner: Outliner
    ended: Sequence[Made]

    def hurdles(self, spec: CandidateSpec) -> tuple[float, ...]:
        """What accuracy the candidate must have after each epoch of its training while quantized.

        Raises:
            TrialStoppedError: it need not be made at all.
            CompressionError: it cannot be.
        """
        pruned = spec.prune is not None and spec.prune.epochs > 0
        if not (pruned or spec.quantize.training):
            return ()
        candidate = self._outlined(spec)
        self._require_hope(candidate)
        if pruned:
            self._require_hope(replace(candidate, accuracy=self.outliner.pruned_accuracy(spec)))
        if not spec.quantize.training:
            return ()
        curves = [made.output.metrics[CURVE] for made in self.ended if CURVE in made.output.metrics]
        others = [made.candidate for made in self.ended]
        return hurdles(self.judge.accuracy_needed(candidate, others), curves)

    def _outlined(self, spec: CandidateSpec) -> Candidate:
        """With all that is known of it, and as accurate as can be."""
        outline = self.outliner.outline(spec)
        candidate = Candidate(
            name=spec.name,
            model_digest="",
            accuracy=1.0,
            model_bytes=int(outline.metrics["model_bytes"]),
            peak_ram_bytes=int(outline.metrics["peak_ram_bytes"]),
        )
        return self.judge.with_predictions(candidate, self.outliner.signatures(outline))

    def _require_hope(self, candidate: Candidate) -> None:
        hopeless = self.judge.hopeless(candidate)
        if hopeless:
            raise TrialStoppedError(hopeless)
