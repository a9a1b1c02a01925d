"""Row 10: a network's answers as rules, from its soft answers to rows and queries, beside trees on its hard labels.

Held-out rows only: the network, the rules and the trees of a fold know nothing of them. Ours is what the engine answers
to the raw rows. A rule is a leaf; where trees add up, the leaves of all count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from compression_peers import tables
from compression_peers.bench import Bench
from compression_peers.exchange import PeerError
from compression_peers.results import Figure, Results
from compression_peers.row import Check, Row, above, at_least, at_most
from compression_peers.tables import RULES, TABLES, Answers, Fold
from orchestrator.compression.rules.budget import RuleBudget
from orchestrator.compression.rules.fitting import fit_rules
from orchestrator.compression.rules.model import build_rules_model
from orchestrator.compression.rules.table import to_integers
from orchestrator.datasets.feature_grid import FeatureGrid

OURS, SINGLE = "espalier", "espalier, one tree"
CART_HARD, CART_LABELS, FIGS = "CART on hard labels", "CART on the data's labels", "FIGS on hard labels"
PEERS = (CART_HARD, CART_LABELS, FIGS)


def run(bench: Bench) -> Iterator[Figure]:
    for table in TABLES:
        sizes: list[tuple[int, int]] = []
        followed: dict[str, list[np.ndarray]] = {}
        methods = _methods(bench, sizes)
        for seed in (0,) if bench.quick else (0, 1, 2):
            for fold in tables.folds(table, seed):
                for method in list(methods):
                    try:
                        followed.setdefault(method, []).append(methods[method](fold) == fold.wanted)
                    except PeerError as error:  # once is enough
                        bench.say(f"{method}: {error}")
                        del methods[method], followed[method]
            bench.say(f"{table}, repeat {seed}: {_share(followed[OURS]):.1f} % followed")
        for method, answers in followed.items():
            yield Figure(row=ROW.number, label=f"{table}: {method}", value=_share(answers), unit="% followed")
        yield Figure(row=ROW.number, label=f"{table}: rules", value=max(rules for rules, _ in sizes))
        yield Figure(row=ROW.number, label=f"{table}: table", value=max(size for _, size in sizes), unit="bytes")


def _methods(bench: Bench, sizes: list[tuple[int, int]]) -> dict[str, Callable[[Fold], Answers]]:
    """`sizes` gets the rules and table bytes of each of ours."""
    return {
        OURS: lambda fold: _rules(fold, RuleBudget(rules=RULES), sizes),
        SINGLE: lambda fold: _rules(fold, RuleBudget(rules=RULES, trees=1, depth=16), sizes),
        CART_HARD: lambda fold: tables.cart(fold, fold.hard),
        CART_LABELS: lambda fold: tables.cart(fold, fold.labels),
        FIGS: lambda fold: tables.figs(fold, bench.say),
    }


def _rules(fold: Fold, budget: RuleBudget, sizes: list[tuple[int, int]]) -> Answers:
    grid = FeatureGrid.of(fold.train)
    q = grid.quantize(fold.train)
    forest = fit_rules(q, fold.teacher(fold.train), budget, teacher=lambda asked: fold.teacher(grid.dequantize(asked)))
    engine = build_rules_model(forest, q, grid, labels=(), name="rules").load()
    sizes.append((forest.rules, to_integers(forest, q).table_bytes))
    output = engine.infer_batch(fold.test.astype("<f4").tobytes(), raw=False)
    return np.frombuffer(output, np.int8).reshape(len(fold.test), -1).argmax(axis=1)


def _share(answers: list[np.ndarray]) -> float:
    return 100 * float(np.concatenate(answers).mean())


def judge(results: Results, networks: Sequence[str]) -> list[Check]:
    checks = []
    for table in TABLES:
        ours = results.figure(ROW.number, f"{table}: {OURS}")
        checks.append(at_least(f"{table}: % of held-out rows followed", ours, 95))
        for peer in PEERS:
            found = results.figure(ROW.number, f"{table}: {peer}")
            if not np.isnan(found):
                checks.append(above(f"{table}: % followed", ours, found, whose=peer))
        checks.append(at_most(f"{table}: rules", results.figure(ROW.number, f"{table}: rules"), RULES))
        checks.append(at_most(f"{table}: table bytes", results.figure(ROW.number, f"{table}: table"), 4096))
    return checks


ROW = Row(
    number=10,
    title="rules",
    target=(
        "fidelity at least 95 % with 32 rules on the tables (cross-validated), "
        "better than trees of equal size on hard labels, table at most 4 KB"
    ),
    networks=(),
    quick=True,
    environments=lambda bench: ["imodels"],
    run=run,
    judge=judge,
)
