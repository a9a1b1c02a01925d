"""What a certificate states of a model: its answers to the certify split beside the teacher's, clean and corrupted."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from edge_agent.runtime.interface import Engine
from orchestrator.compression.artifact import Artifact
from orchestrator.compression.certificate import PairedComparison, WorstClass, compare_paired, compare_worst_class
from orchestrator.compression.data import Preprocessing
from orchestrator.compression.evaluation import evaluate, evaluate_network
from orchestrator.datasets.corruptions import Corruption
from orchestrator.datasets.splits import Split

CERTIFIED_CORRUPTION = Corruption((("gaussian_noise", 20.0),))
"""What every certificate states besides clean images: a sensor in bad light."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """`corrupted` is with every image corrupted as `CERTIFIED_CORRUPTION` states."""

    clean: PairedComparison
    worst_class: WorstClass
    corrupted: PairedComparison


class Examination:
    """The teacher answers once, then every model that is asked: the same samples in the same order."""

    def __init__(self, teacher: nn.Module, certify: Split, *, preprocessing: Preprocessing) -> None:
        self._clean = certify
        self._corrupted = Split(CERTIFIED_CORRUPTION.apply(certify.inputs), certify.labels)
        self._on_clean, self._on_corrupted = (
            evaluate_network(teacher, split, preprocessing=preprocessing).correct
            for split in (self._clean, self._corrupted)
        )

    def of(self, model: Artifact | Engine) -> Findings:
        """By the very engine that devices run; raises what `evaluate` raises."""
        correct = evaluate(model, self._clean).correct
        return Findings(
            clean=compare_paired(correct, self._on_clean),
            worst_class=compare_worst_class(correct, self._on_clean, self._clean.labels),
            corrupted=compare_paired(evaluate(model, self._corrupted).correct, self._on_corrupted),
        )
