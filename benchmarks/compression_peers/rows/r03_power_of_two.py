"""Row 3: every scale a power of two, so that a shift requantizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compression_peers.bench import Bench
from compression_peers.results import Outcome, Results
from compression_peers.row import OURS, Check, Row, at_most
from orchestrator.compression.recipe import Recipe, Scheme

POINTS = {8: 0.2, 4: 1.0}  # by weight bits


def run(bench: Bench) -> Iterator[Outcome]:
    for subject in bench.subjects(ROW.networks):
        for bits in POINTS:
            yield subject.quantized(ROW.number, _method(bits), Recipe(scheme=Scheme.POWER_OF_TWO, weight_bits=bits))


def judge(results: Results, networks: Sequence[str]) -> list[Check]:
    return [
        at_most(f"{network}: points lost at {bits} bits", results.lost(ROW.number, network, _method(bits)), limit)
        for network in networks
        for bits, limit in POINTS.items()
    ]


def _method(bits: int) -> str:
    return f"{OURS} {bits} bits"


ROW = Row(
    number=3,
    title="power-of-two scales only",
    target="8 bits at most 0.2 point, 4 bits at most 1.0 point",
    quick=True,
    run=run,
    judge=judge,
)
