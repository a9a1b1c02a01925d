"""Row 6: half of the multiplications, by removing channels, beside Torch-Pruning under equal fine-tuning.

Both start from the same trained network, measure importance on as many samples, and are trained back by the same
distillation for as many epochs, ours alone on all cores and within the time that is allowed. What is compared is the
engine's accuracy with 8-bit weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import nn

from compression_peers.bench import Bench
from compression_peers.exchange import TORCH_PRUNING
from compression_peers.pruned import HALF, by_peer, half, halved, pruning
from compression_peers.results import Outcome, Results
from compression_peers.row import OURS, Check, Row, above, at_most
from orchestrator.compression.prune.curvature import SAMPLES
from orchestrator.compression.recipe import Recipe
from orchestrator.compression.training.distillation import distill

UNTRAINED = f"{OURS}, untrained"  # shown, not judged


def run(bench: Bench) -> Iterator[Outcome]:
    subjects = list(bench.subjects(ROW.networks))
    for subject in subjects:
        pruned, spent = half(subject)
        yield subject.quantized(ROW.number, OURS, Recipe(), pruned, before=spent)
    for subject in subjects:
        pruned, spent = halved(subject, replace(pruning(subject), learning=None))
        yield subject.quantized(ROW.number, UNTRAINED, Recipe(), pruned, before=spent, publish=False)
    # Its time is not judged.
    yield from bench.side_by_side(_by_torch_pruning, [(subject.network, subject.seed) for subject in subjects])


def _by_torch_pruning(bench: Bench, which: tuple[str, int]) -> Outcome:
    subject = bench.subject(*which)
    learning = pruning(subject).learning
    assert learning is not None

    def train_back(pruned: nn.Module) -> None:
        """As `prune_and_recover` does."""
        distill(
            pruned,
            subject.model,
            subject.data.splits.train,
            learning,
            preprocessing=subject.data.preprocessing,
            on_progress=lambda done, message: subject.say(message),
        )

    return by_peer(ROW.number, TORCH_PRUNING, subject, fraction=HALF, samples=SAMPLES, train_back=train_back)


def judge(results: Results, networks: Sequence[str]) -> list[Check]:
    checks = []
    for network in networks:
        checks.append(at_most(f"{network}: points lost", results.lost(ROW.number, network, OURS), 0.5))
        checks.append(at_most(f"{network}: seconds", results.slowest(ROW.number, network, OURS), 180))
        lead, _ = results.lead(ROW.number, network, OURS, TORCH_PRUNING.title)
        checks.append(above(f"{network}: points by which ours leads Torch-Pruning", lead, 0))
    return checks


ROW = Row(
    number=6,
    title="half the MACs by channel pruning",
    target="at most 0.5 point after 3 CPU minutes of fine-tuning with KD, better than Torch-Pruning in the same time",
    environments=lambda bench: [TORCH_PRUNING.environment],
    run=run,
    judge=judge,
)
