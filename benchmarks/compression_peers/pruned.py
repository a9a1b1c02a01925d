"""A network that a peer prunes and that is then trained back as ours is."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import nn

from compression_peers import exchange
from compression_peers.bench import Spent, Subject
from compression_peers.exchange import Peer, PeerError
from compression_peers.results import Outcome
from orchestrator.compression.recipe import Recipe


def by_peer(
    row: int, peer: Peer, subject: Subject, *, fraction: float, samples: int, train_back: Callable[[nn.Module], None]
) -> Outcome:
    """With 8-bit weights, by our engine; the error where the peer is not there or failed.

    Args:
        fraction: what stays, see `peers`.
        samples: how many the peer is given, from the start of the train split.
    """
    model = copy.deepcopy(subject.model)
    try:
        pruned, seconds, cpu_seconds = exchange.prune(
            peer, subject.network, model, subject.data, fraction, samples, subject.say
        )
    except PeerError as error:
        return Outcome(row=row, network=subject.network, seed=subject.seed, method=peer.title, error=str(error))
    spent = Spent(seconds, cpu_seconds)
    with spent:
        train_back(pruned)
    return subject.quantized(row, peer.title, Recipe(), pruned, before=spent, publish=False)
