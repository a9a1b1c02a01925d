"""Draws points lost over bytes with our front, a panel per network. Runs in the environment with matplotlib.

python -m compression_peers.picture RESULT.json PICTURE.png

A point is the mean over seeds. Peers that only simulate are drawn at a byte for each parameter, hollow. What lost more
than fits is a triangle at the top, with its figure in the legend. Points carry the number of their row.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

OURS = "espalier"
FP32_ROW = 0
FLOAT_ROWS = {9}  # students in float32: training is compared there, not bytes
TOP = 3.0  # points lost
COLUMNS = 2


@dataclass(frozen=True)
class Point:
    row: int
    method: str
    kilobytes: float
    points_lost: float
    ours: bool
    simulated: bool


def draw(result: dict, target: Path) -> None:
    fp32_bytes = {o["network"]: o["size_bytes"] for o in result["outcomes"] if o["row"] == FP32_ROW}
    rows = -(-len(fp32_bytes) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(8 * COLUMNS, 5 * rows), squeeze=False)
    for panel in axes.flat[len(fp32_bytes) :]:
        panel.set_axis_off()
    for panel, (network, size_bytes) in zip(axes.flat, fp32_bytes.items(), strict=False):
        points = list(_points(result["outcomes"], network, size_bytes / 4))
        for index, point in enumerate(points):
            color = f"C{index % 10}"
            fits = point.points_lost < TOP
            height = min(point.points_lost, TOP)
            name = f"{point.row}: {point.method}"
            panel.scatter(
                point.kilobytes,
                height,
                label=name if fits else f"{name} ({point.points_lost:.1f})",
                edgecolors=color,
                facecolors="none" if point.simulated else color,
                marker="^" if not fits else "o" if point.ours else "s",
            )
            panel.annotate(point.row, (point.kilobytes, height), (4, 4), textcoords="offset points", fontsize=6)
        front = list(_front([point for point in points if point.ours]))
        panel.plot([p.kilobytes for p in front], [p.points_lost for p in front], color="black", linewidth=0.8)
        panel.axhline(0, color="grey", linewidth=0.8, linestyle=":")
        panel.set(title=network, xlabel="kB", ylabel="points lost against fp32")
        if points:
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(MaxNLocator(6))
            panel.xaxis.set_minor_locator(NullLocator())
            panel.xaxis.set_major_formatter(ScalarFormatter())
            panel.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=7, title="row: method", frameon=False)
    figure.tight_layout()
    figure.savefig(target, dpi=150)


def _points(outcomes: list[dict], network: str, simulated_bytes: float) -> Iterator[Point]:
    groups: dict[tuple[int, str], list[dict]] = {}
    for o in outcomes:
        is_shown = o["row"] not in {FP32_ROW, *FLOAT_ROWS} and o.get("points_lost") is not None
        if o["network"] == network and is_shown:
            groups.setdefault((o["row"], o["method"]), []).append(o)
    for (row, method), found in groups.items():
        stored = max(o["size_bytes"] for o in found)
        lost = sum(o["points_lost"] for o in found) / len(found)
        kilobytes = (stored or simulated_bytes) / 1000
        yield Point(row, method, kilobytes, lost, method.startswith(OURS), not stored)


def _front(points: list[Point]) -> Iterator[Point]:
    """Those that no smaller one beats."""
    least = float("inf")
    for point in sorted(points, key=lambda p: (p.kilobytes, p.points_lost)):
        if point.points_lost < least:
            least = point.points_lost
            yield point


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
