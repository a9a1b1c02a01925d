"""Row 7: half of the multiplications and 4-bit weights.

In one command it is `compress(model, splits, Recipe(weight_bits=4), prune=Pruning(macs_fraction=0.5), ...)`. Here its
two steps are called apart, because the first may be row 6's, which need not be trained twice; the times of both count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compression_peers.bench import Bench
from compression_peers.pruned import half
from compression_peers.results import FP32, FP32_ROW, Outcome, Results
from compression_peers.row import OURS, Check, Row, at_least, at_most
from orchestrator.compression.recipe import Recipe

SMALLER = {"resnet8": 12.0, "ds-cnn": 8.0}
WEIGHTS = {"resnet8": 1.0, "ds-cnn": 0.45}  # at most, as a share: scales and biases take a third of DS-CNN's bytes


def run(bench: Bench) -> Iterator[Outcome]:
    for subject in bench.subjects(ROW.networks):
        pruned, spent = half(subject, WEIGHTS[subject.network])
        yield subject.quantized(ROW.number, OURS, Recipe(weight_bits=4), pruned, before=spent)


def judge(results: Results, networks: Sequence[str]) -> list[Check]:
    checks = []
    for network in networks:
        ratio = results.largest(FP32_ROW, network, FP32) / results.largest(ROW.number, network, OURS)
        checks.append(at_least(f"{network}: times smaller than fp32", ratio, SMALLER[network]))
        checks.append(at_most(f"{network}: points lost", results.lost(ROW.number, network, OURS), 1.0))
        checks.append(at_most(f"{network}: seconds", results.slowest(ROW.number, network, OURS), 300))
    return checks


ROW = Row(
    number=7,
    title="half the MACs and W4A8 in one command",
    target="12x smaller than fp32 on resnet8, 8x on ds-cnn, at most 1.0 point, under 5 CPU minutes",
    quick=True,
    run=run,
    judge=judge,
)
