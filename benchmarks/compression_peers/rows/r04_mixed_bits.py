"""Row 4: bits chosen layer by layer, at 3.5 bits per weight on average, with real scales and with powers of two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compression_peers.bench import Bench
from compression_peers.results import Outcome, Results
from compression_peers.row import OURS, Check, Row, at_most
from orchestrator.compression.recipe import Recipe, Scheme

MEAN_BITS = 3.5
POINTS = 0.7


def run(bench: Bench) -> Iterator[Outcome]:
    for subject in bench.subjects(ROW.networks):
        for scheme in Scheme:
            yield subject.quantized(ROW.number, _method(scheme), Recipe(scheme=scheme, mean_bits=MEAN_BITS))


def judge(results: Results, networks: Sequence[str]) -> list[Check]:
    return [
        at_most(f"{network}: points lost, {scheme}", results.lost(ROW.number, network, _method(scheme)), POINTS)
        for network in networks
        for scheme in Scheme
    ]


def _method(scheme: Scheme) -> str:
    return f"{OURS} {scheme}"


ROW = Row(
    number=4,
    title="mixed bits, mean 3.5 or less",
    target="at most 0.7 point without training",
    quick=True,
    run=run,
    judge=judge,
)
