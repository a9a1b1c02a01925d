"""A row of the table: what is asked, how it is measured, and the checks that decide it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compression_peers.bench import Bench
    from compression_peers.results import Figure, Outcome, Results

OURS = "espalier"
CNNS = ("resnet8", "ds-cnn")
ALL_NETWORKS = (*CNNS, "mlp", "vit")


@dataclass(frozen=True)
class Check:
    """One figure against its limit; `limit` in words."""

    what: str
    found: float
    limit: str
    met: bool

    def __str__(self) -> str:
        return f"{'met   ' if self.met else 'MISSED'}  {self.what} {self.found:,.4g} ({self.limit})"


def at_most(what: str, found: float, limit: float) -> Check:
    return Check(what, found, f"at most {limit:g}", found <= limit)


def at_least(what: str, found: float, limit: float) -> Check:
    return Check(what, found, f"at least {limit:g}", found >= limit)


def above(what: str, found: float, limit: float, whose: str = "") -> Check:
    return Check(what, found, f"above {limit:.4g}{whose and ' of '}{whose}", found > limit)


@dataclass(frozen=True, kw_only=True)
class Row:
    """`run` and `judge` as in the package's docstring; both are None while nobody has built the row.

    Attributes:
        networks: those that the target names; each must be there for the row to be met.
        quick: whether `--quick` judges it, on the networks that it has.
        of_others: looks at what the other rows of the run made, so it is measured in every run.
        environments: names of `runtime_peers.environments` that it will ask for, so that they can be built early.
    """

    number: int
    title: str
    target: str
    networks: tuple[str, ...] = CNNS
    quick: bool = False
    of_others: bool = False
    environments: Callable[[Bench], Sequence[str]] = lambda bench: ()
    run: Callable[[Bench], Iterator[Outcome | Figure]] | None = None
    judge: Callable[[Results, Sequence[str]], list[Check]] | None = None

    @property
    def built(self) -> bool:
        return self.run is not None and self.judge is not None


@dataclass(frozen=True)
class Verdict:
    met: bool
    words: str
    checks: tuple[Check, ...] = ()


def verdict(row: Row, results: Results, *, networks: Sequence[str], known: Sequence[str]) -> Verdict:
    """Whether `row` is met on all of `networks`, of which only those in `known` exist."""
    if row.number in results.failures:
        return Verdict(False, f"missed: {results.failures[row.number]}")
    if row.judge is None:
        return Verdict(False, "missed: not built yet")
    checks = tuple(row.judge(results, [network for network in networks if network in known]))
    missing = [network for network in networks if network not in known]
    if missing:
        return Verdict(False, f"missed: no network {', '.join(missing)}", checks)
    met = bool(checks) and all(check.met for check in checks)
    return Verdict(met, "met" if met else "missed", checks)
