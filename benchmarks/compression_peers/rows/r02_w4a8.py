"""Row 2: 4-bit weights after training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compression_peers.bench import Bench
from compression_peers.results import Outcome, Results
from compression_peers.row import ALL_NETWORKS, OURS, Check, Row, at_most
from orchestrator.compression.recipe import Recipe

POINTS = {"vit": 1.0}  # where it is not 0.4


def run(bench: Bench) -> Iterator[Outcome]:
    for subject in bench.subjects(ROW.networks):
        yield subject.quantized(ROW.number, OURS, Recipe(weight_bits=4))


def judge(results: Results, networks: Sequence[str]) -> list[Check]:
    checks = []
    for network in networks:
        checks.append(
            at_most(f"{network}: points lost", results.lost(ROW.number, network, OURS), POINTS.get(network, 0.4))
        )
        checks.append(at_most(f"{network}: seconds", results.slowest(ROW.number, network, OURS), 120))
    return checks


ROW = Row(
    number=2,
    title="W4A8 PTQ",
    target="at most 0.4 point under fp32 on each CNN and the MLP, vit at most 1.0, under 2 CPU minutes",
    networks=ALL_NETWORKS,
    quick=True,
    run=run,
    judge=judge,
)
