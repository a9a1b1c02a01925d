"""Networks that were pruned and trained back: by ours to half of the multiplications, by a peer to what a row asks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

from torch import nn

from compression_peers import exchange
from compression_peers.bench import Spent, Subject
from compression_peers.exchange import Peer, PeerError
from compression_peers.results import Outcome
from orchestrator.compression.prune import LEARNING, Pruning, prune_and_recover
from orchestrator.compression.recipe import Recipe

HALF = 0.5
EPOCHS, QUICK_EPOCHS = 3, 2


def pruning(subject: Subject, weights_fraction: float = 1.0) -> Pruning:
    epochs = QUICK_EPOCHS if subject.bench.quick else EPOCHS
    learning = replace(LEARNING, epochs=epochs, seed=subject.seed)
    return Pruning(macs_fraction=HALF, weights_fraction=weights_fraction, learning=learning, seed=subject.seed)


def half(subject: Subject, weights_fraction: float = 1.0) -> tuple[nn.Module, Spent]:
    """The subject with half of its multiplications, trained back, and the time that took; made once per run."""
    key = ("half", subject.network, subject.seed, weights_fraction)
    return subject.bench.kept(key, lambda: halved(subject, pruning(subject, weights_fraction)))


def halved(subject: Subject, how: Pruning) -> tuple[nn.Module, Spent]:
    spent = Spent()
    with spent:
        pruned = prune_and_recover(
            subject.model,
            subject.data.splits.train,
            how,
            preprocessing=subject.data.preprocessing,
            on_progress=lambda done, message: subject.say(message),
        )
    return pruned, spent


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
