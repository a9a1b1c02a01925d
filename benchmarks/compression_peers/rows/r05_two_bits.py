"""Row 5: 2-bit weights, trained with fake quantization under the float network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compression_peers.bench import Bench
from compression_peers.results import Outcome, Results
from compression_peers.row import OURS, Check, Row, at_most
from orchestrator.compression.recipe import QuantizedTraining, Recipe

POINTS = 2.0
SECONDS = 600


def run(bench: Bench) -> Iterator[Outcome]:
    for subject in bench.subjects(ROW.networks):
        # Longer and faster than the default, and more by the labels: 2 bits cannot follow the teacher's every answer.
        training = QuantizedTraining(epochs=8, learning_rate=0.004, temperature=2.0, alpha=0.5, seed=subject.seed)
        recipe = Recipe(weight_bits=2, training=training)
        yield subject.quantized(ROW.number, OURS, recipe)


def judge(results: Results, networks: Sequence[str]) -> list[Check]:
    checks = []
    for network in networks:
        checks.append(at_most(f"{network}: points lost", results.lost(ROW.number, network, OURS), POINTS))
        checks.append(at_most(f"{network}: seconds", results.slowest(ROW.number, network, OURS), SECONDS))
    return checks


ROW = Row(
    number=5,
    title="2-bit weights, QAT with KD",
    target="at most 2.0 points on the depthwise network, under 10 CPU minutes",
    networks=("ds-cnn",),
    run=run,
    judge=judge,
)
