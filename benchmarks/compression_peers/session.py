"""Runs the rows that were asked for, one after another, and gathers what they measured."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from runtime_peers import environments
from runtime_peers.environments import BuildError

from compression_peers.archive import Archive, Measured
from compression_peers.bench import Bench
from compression_peers.exchange import QUANTIZERS, Peer
from compression_peers.networks import NETWORKS
from compression_peers.results import Figure, Outcome, Results
from compression_peers.row import CNNS, Row, Verdict, verdict
from compression_peers.rows import ROWS
from compression_peers.teachers import Say

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Plan:
    """What a run does. `rows` are all that it counts, built or not."""

    quick: bool
    rows: tuple[Row, ...]
    networks: tuple[str, ...]
    seeds: tuple[int, ...]
    peers: tuple[Peer, ...]

    def verdict(self, row: Row, results: Results) -> Verdict:
        networks = [n for n in row.networks if n in self.networks] if self.quick else row.networks
        return verdict(row, results, networks=networks, known=self.networks)

    @property
    def left_out(self) -> list[int]:
        return sorted(ROWS.keys() - {row.number for row in self.rows})

    @property
    def peers_left_out(self) -> list[str]:
        return [peer.title for peer in QUANTIZERS if peer not in self.peers]


def plan(numbers: Sequence[int], *, quick: bool) -> Plan:
    """A quick run counts only the rows that it can show; networks that no row looks at are not trained."""
    rows = tuple(ROWS[number] for number in sorted(numbers) if ROWS[number].quick or not quick)
    looked_at = {network for row in rows for network in row.networks}
    networks = tuple(network for network in (CNNS if quick else NETWORKS) if network in looked_at)
    return Plan(
        quick=quick,
        rows=rows,
        networks=networks,
        seeds=SEEDS[:1] if quick else SEEDS,
        peers=QUANTIZERS[:2] if quick else QUANTIZERS,  # the first two share an environment
    )


def run(
    wanted: Plan, say: Say, *, archive: Archive, resume: bool = False, after_row: Callable[[Results], None]
) -> Results:
    """`after_row` is called with the results so far; a row that breaks is missed, and the next one runs.

    Args:
        archive: gets every row that ends well.
        resume: take from it what is there.
    """
    bench = Bench.open(say, quick=wanted.quick, networks=wanted.networks, seeds=wanted.seeds, peers=wanted.peers)
    # pip waits for the network and the disk as long as it computes.
    with ThreadPoolExecutor(max_workers=1) as builder:
        builder.submit(_build, [name for row in wanted.rows for name in row.environments(bench)], say)
        bench.train_missing()
    results = Results()
    for subject in bench.subjects(wanted.networks):
        results.add(subject.fp32())
    for row in wanted.rows:
        if row.run is None:
            continue
        measured = archive.load(row) if resume and not row.of_others else None
        if measured is not None:
            say(f"== row {row.number}: measured {measured.at}")
            results.measured_at[row.number] = measured.at
            bench.published += measured.published
            for result in measured.results:
                results.add(result)
        else:
            _measure(row, bench, results, archive)
        after_row(results)
    return results


def _build(names: Sequence[str], say: Say) -> None:
    for name in dict.fromkeys(names):
        with suppress(BuildError):  # the row that asks for it says so
            environments.ensure(name, say)


def _measure(row: Row, bench: Bench, results: Results, archive: Archive) -> None:
    assert row.run is not None
    found, published_before = [], len(bench.published)
    try:
        for result in row.run(bench):
            found.append(result)
            results.add(result)
            bench.say(f"== row {row.number}: {words(result)}")
    except Exception as error:  # a benchmark of hours goes on; the row is missed and says why
        results.failures[row.number] = f"{type(error).__name__}: {error}"
        bench.say(f"== row {row.number} broke\n{traceback.format_exc()}")
        return
    at = datetime.now().astimezone().isoformat(" ", "minutes")
    archive.save(row, Measured(at=at, results=found, published=bench.published[published_before:]))


def words(result: Outcome | Figure) -> str:
    if isinstance(result, Figure):
        return f"{result.label} {result.value:,.6g} {result.unit}".rstrip()
    subject = f"{result.network}, seed {result.seed}, {result.method}"
    if result.error:
        return f"{subject}: {result.error}"
    size = f"{result.size_bytes:,} bytes" if result.size_bytes else "simulated"
    return f"{subject}: {100 * result.correct.mean():.2f} %, {size}, {result.seconds:.1f} s"
