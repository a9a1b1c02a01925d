"""Row 1: 8-bit weights and activations after training, integer only, beside four other quantizers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compression_peers import exchange
from compression_peers.bench import Bench, Subject
from compression_peers.exchange import QUANTIZERS, Peer, PeerError
from compression_peers.results import TWO_SIDED_95, Outcome, Results
from compression_peers.row import ALL_NETWORKS, OURS, Check, Row, at_least, at_most
from orchestrator.compression.recipe import Recipe

POINTS = {"vit": 0.4}  # where it is not 0.2


def run(bench: Bench) -> Iterator[Outcome]:
    for subject in bench.subjects(ROW.networks):
        yield subject.quantized(ROW.number, OURS, Recipe())
        for peer in bench.peers:
            yield _by(peer, subject)


def _by(peer: Peer, subject: Subject) -> Outcome:
    common = {"row": ROW.number, "network": subject.network, "seed": subject.seed, "method": peer.title}
    try:
        made = exchange.quantize(
            peer, subject.network, subject.model, subject.data, Recipe().calibration_count, subject.say
        )
    except PeerError as error:
        return Outcome(error=str(error), **common)
    correct, corrupted = subject.data.marks(made.correct)
    return Outcome(
        correct=correct,
        corrupted=corrupted,
        size_bytes=made.size_bytes,
        seconds=made.seconds,
        cpu_seconds=made.cpu_seconds,
        **common,
    )


def judge(results: Results, networks: Sequence[str]) -> list[Check]:
    checks = []
    for network in networks:
        checks.append(
            at_most(f"{network}: points lost", results.lost(ROW.number, network, OURS), POINTS.get(network, 0.2))
        )
        checks.append(at_most(f"{network}: seconds", results.slowest(ROW.number, network, OURS), 15))
        answered = [peer.title for peer in QUANTIZERS if results.find(ROW.number, network, peer.title)]
        checks.append(at_least(f"{network}: peers that answered", len(answered), 1))
        checks += [_not_behind(results, network, peer) for peer in answered]
    return checks


def _not_behind(results: Results, network: str, peer: str) -> Check:
    lead, error = results.lead(ROW.number, network, peer, OURS)
    limit = TWO_SIDED_95 * error
    return Check(f"{network}: points by which {peer} leads", lead, f"within +-{limit:.2g} or less", lead <= limit)


ROW = Row(
    number=1,
    title="W8A8 PTQ, integer only",
    target="at most 0.2 point under fp32 (vit 0.4), no worse than the best peer beyond the paired error, under 15 s",
    networks=ALL_NETWORKS,
    quick=True,
    environments=lambda bench: [peer.environment for peer in bench.peers],
    run=run,
    judge=judge,
)
