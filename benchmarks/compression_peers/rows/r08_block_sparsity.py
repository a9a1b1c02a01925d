"""Row 8: blocks of weights that are zero, and that the engine skips.

Three of the same sparsity: by magnitude with nothing that makes up for it, by the optimal brain surgeon without
training, and that one after distillation under its mask. Beside them NNCF's unstructured pruning, as sparse, after as
many epochs of distillation under its zeros: finer than any kernel can skip. All are judged by the engine with 8-bit
weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import Tensor, nn

from compression_peers.bench import Bench, Spent, Subject
from compression_peers.exchange import NNCF_PRUNE
from compression_peers.pruned import by_peer
from compression_peers.results import Outcome, Results
from compression_peers.row import CNNS, OURS, Check, Row, at_least, at_most
from orchestrator.compression.prune.blocks import LEARNING, prune_blocks, prune_blocks_by_magnitude
from orchestrator.compression.recipe import Recipe
from orchestrator.compression.training.distillation import distill
from orchestrator.compression.training.masks import held, zeros_of

SPARSITY, BLOCK_ROWS = 0.6, 4
MAGNITUDE, UNTRAINED = "magnitude", "surgeon, untrained"
EPOCHS = {"resnet8": 1, "ds-cnn": 3, "mlp": 6}
LOST_AT_MOST = {"resnet8": 1.0, "ds-cnn": 1.5, "mlp": 1.0}
SECONDS_AT_MOST = {"resnet8": 60, "ds-cnn": 180, "mlp": 60}  # of distillation


def run(bench: Bench) -> Iterator[Outcome]:
    subjects = list(bench.subjects(ROW.networks))
    for subject in subjects:
        yield from _of(subject)
    yield from bench.side_by_side(_by_nncf, [(subject.network, subject.seed) for subject in subjects])


def _of(subject: Subject) -> Iterator[Outcome]:
    train, preprocessing = subject.data.splits.train, subject.data.preprocessing
    common = {"preprocessing": preprocessing, "sparsity": SPARSITY, "block_rows": BLOCK_ROWS}
    plain = prune_blocks_by_magnitude(subject.model, train, **common)
    yield subject.quantized(ROW.number, MAGNITUDE, Recipe(), plain.model, publish=False)
    pruning = Spent()
    with pruning:
        sparse = prune_blocks(subject.model, train, **common)
    yield subject.quantized(ROW.number, UNTRAINED, Recipe(), sparse.model, before=pruning, publish=False)
    distilling = Spent()
    with distilling:
        _distil(sparse.model, sparse.masks, subject)
    yield subject.quantized(ROW.number, OURS, Recipe(), sparse.model, before=distilling)


def _distil(sparse: nn.Module, masks: dict[str, Tensor], subject: Subject) -> None:
    with held(sparse, masks):
        distill(
            sparse,
            subject.model,
            subject.data.splits.train,
            replace(LEARNING, epochs=EPOCHS[subject.network], seed=subject.seed),
            preprocessing=subject.data.preprocessing,
            on_progress=lambda done, message: subject.say(message),
        )


def _by_nncf(bench: Bench, which: tuple[str, int]) -> Outcome:
    subject = bench.subject(*which)

    def train_back(sparse: nn.Module) -> None:
        _distil(sparse, zeros_of(sparse), subject)

    return by_peer(ROW.number, NNCF_PRUNE, subject, fraction=1 - SPARSITY, samples=1, train_back=train_back)


def judge(results: Results, networks: Sequence[str]) -> list[Check]:
    checks = []
    for network in networks:
        checks.append(
            at_most(f"{network}: points lost", results.lost(ROW.number, network, OURS), LOST_AT_MOST[network])
        )
        seconds = results.slowest(ROW.number, network, OURS)
        checks.append(at_most(f"{network}: seconds of distillation", seconds, SECONDS_AT_MOST[network]))
        lead = results.lead(ROW.number, network, UNTRAINED, MAGNITUDE)[0]
        checks.append(at_least(f"{network}: points better than magnitude before it", lead, 10.0))
    return checks


ROW = Row(
    number=8,
    title="60 % block sparsity, 4x4",
    target=(
        "at most 1.0 point on resnet8 and mlp after a CPU minute of KD under the mask, ds-cnn 1.5 after three; "
        "before it 10 better than magnitude"
    ),
    networks=(*CNNS, "mlp"),
    environments=lambda bench: [NNCF_PRUNE.environment],
    run=run,
    judge=judge,
)
