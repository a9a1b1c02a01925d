"""Draws a session's medians relative to ours, a group of bars per network. Runs in the environment with matplotlib.

python -m runtime_peers.picture RESULT.json PICTURE.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from runtime_peers.catalogue import NETWORKS, OURS, PEERS


def draw(result: dict, target: Path) -> None:
    networks = list(result["networks"])
    names = [name for name in (OURS, *PEERS) if any(name in result["networks"][n]["one_thread"] for n in networks)]
    figure, axes = plt.subplots(figsize=(2.2 * len(networks) + 3, 5), layout="constrained")
    width = 0.8 / max(1, len(names))
    for index, name in enumerate(names):
        for position, network in enumerate(networks):
            rows = result["networks"][network]["one_thread"]
            us, ours = (rows.get(key, {}).get("median_us") for key in (name, OURS))
            base = ours or min(row["median_us"] for row in rows.values() if "median_us" in row)
            if us:
                x = position - 0.4 + width * (index + 0.5)
                bar = axes.bar(x, us / base, width, color=f"C{index}", label=name if position == 0 else None)
                axes.bar_label(bar, [f"{us:.3g}"], rotation=90, fontsize=7, padding=2)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_xticks(range(len(networks)), [NETWORKS[network].title for network in networks])
    axes.set_ylabel(f"time relative to {OURS} (log); labels: median us")
    axes.set_title(f"Batch 1, one thread, {result['cpu']}, {result['time_utc']}")
    axes.margins(y=0.15)
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(target, dpi=150)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
