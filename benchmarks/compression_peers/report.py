"""The results as tables of text and as plain data."""

from __future__ import annotations

import math
from typing import Any

from runtime_peers.report import table

from compression_peers.results import FP32, FP32_ROW, Figure, Outcome, Results
from compression_peers.row import Row
from compression_peers.session import Plan
from compression_peers.teachers import CORRUPTIONS, FAIR

HEADER = ("", "accuracy %", "spread", "lost", "+-", "bytes", "engine us", "seconds", *map(str, CORRUPTIONS))


def text(wanted: Plan, results: Results) -> str:
    sections = [_fp32(wanted, results), *(_row(wanted, row, results) for row in wanted.rows)]
    if wanted.left_out:
        sections.append(f"rows left out of this run, and of its M: {', '.join(map(str, wanted.left_out))}")
    if wanted.peers_left_out:
        sections.append(f"quantizers that only a full run compares with: {', '.join(wanted.peers_left_out)}")
    return "\n\n".join([*sections, f"targets met: {met(wanted, results)} of {len(wanted.rows)}"])


def met(wanted: Plan, results: Results) -> int:
    return sum(wanted.verdict(row, results).met for row in wanted.rows)


def plain(wanted: Plan, results: Results) -> dict[str, Any]:
    verdicts = {row.number: wanted.verdict(row, results) for row in wanted.rows}
    return {
        "quick": wanted.quick,
        "seeds": wanted.seeds,
        "rows": {
            number: {
                "met": verdict.met,
                "words": verdict.words,
                "measured_at": results.measured_at.get(number),  # in an earlier run that this one went on with
                "checks": [vars(check) | {"found": _finite(check.found)} for check in verdict.checks],
            }
            for number, verdict in verdicts.items()
        },
        "outcomes": [_outcome(results, outcome) for outcome in results.outcomes],
        "figures": [vars(figure) | {"value": _finite(figure.value)} for figure in results.figures],
        "met": sum(verdict.met for verdict in verdicts.values()),
        "of": len(verdicts),
    }


def _outcome(results: Results, o: Outcome) -> dict[str, Any]:
    names = ("row", "network", "seed", "method", "size_bytes", "seconds", "cpu_seconds")
    entry = {name: getattr(o, name) for name in names}
    if o.error:
        return entry | {"error": o.error}
    alone = Results()
    for outcome in [*results.find(FP32_ROW, o.network, FP32), o]:
        alone.add(outcome)
    lost, error = alone.drop(o.row, o.network, o.method)
    return entry | {
        "accuracy": float(o.correct.mean()),
        "corrupted": o.corrupted,
        "points_lost": _finite(lost),
        "paired_error": _finite(error),
        "latency_us": o.latency_us,
    }


def _fp32(wanted: Plan, results: Results) -> str:
    lines = []
    for network in wanted.networks:
        accuracy = results.accuracy(FP32_ROW, network, FP32)
        fair = f"{100 * FAIR[network]:.0f}" + ("" if accuracy >= 100 * FAIR[network] else " MISSED")
        size = f"{results.largest(FP32_ROW, network, FP32):,.0f}"
        corrupted = _corrupted(results, FP32_ROW, network, FP32)
        spread = results.spread(FP32_ROW, network, FP32)
        lines.append((network, f"{accuracy:.2f}", f"{spread:.2f}", fair, size, *corrupted))
    title = f"fp32 networks, {len(wanted.seeds)} seed(s), 10,000 test images, 2,000 under each corruption"
    return table(title, ("", "accuracy %", "spread", "fair from", "bytes", *map(str, CORRUPTIONS)), lines)


def _row(wanted: Plan, row: Row, results: Results) -> str:
    verdict = wanted.verdict(row, results)
    title = f"Row {row.number}. {row.title}: {verdict.words}"
    outcomes = [o for o in results.outcomes if o.row == row.number]
    networks = dict.fromkeys(o.network for o in outcomes)
    lines = [
        _line(results, row.number, network, method)
        for network in networks
        for method in results.methods(row.number, network)
        if results.find(row.number, network, method)
    ]
    body = table(title, HEADER, lines) or f"## {title}"
    figures = [_figure(figure) for figure in results.figures if figure.row == row.number]
    errors = dict.fromkeys(f"{o.method} on {o.network}: {o.error}" for o in outcomes if o.error)
    before = [f"measured {at}, in an earlier run"] if (at := results.measured_at.get(row.number)) else []
    return "\n".join([body, *before, *figures, *errors, f"target: {row.target}", *map(str, verdict.checks)])


def _line(results: Results, row: int, network: str, method: str) -> tuple[str, ...]:
    lost, error = results.drop(row, network, method)
    size = results.largest(row, network, method)
    latency_us = max(o.latency_us for o in results.find(row, network, method))
    return (
        f"{network} {method}",
        f"{results.accuracy(row, network, method):.2f}",
        f"{results.spread(row, network, method):.2f}",
        f"{lost:+.2f}",
        f"{error:.2f}",
        f"{size:,.0f}" if size else "simulated",
        f"{latency_us:.1f}" if latency_us else "",
        f"{results.slowest(row, network, method):.1f}",
        *_corrupted(results, row, network, method),
    )


def _corrupted(results: Results, row: int, network: str, method: str) -> list[str]:
    found = results.corrupted(row, network, method)
    return [f"{found[str(kind)]:.2f}" if str(kind) in found else "" for kind in CORRUPTIONS]


def _figure(figure: Figure) -> str:
    return f"{figure.label}: {figure.value:,.6g} {figure.unit}".rstrip()


def _finite(value: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return float(value) if math.isfinite(value) else None
