"""Turns what a session measured into tables of text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from runtime_peers import roofline
from runtime_peers.catalogue import MEASURED, NETWORKS, OURS, OWN, PEERS, TILE_PATH

Entry = dict[str, Any]
MIB = 1 << 20


def ratios(result: Entry) -> dict[str, tuple[str, float]]:
    """By network: the peer that was fastest with one thread in this run, and our median divided by its."""
    found = {}
    for network, entry in result["networks"].items():
        medians = {name: row["median_us"] for name, row in entry["one_thread"].items() if "median_us" in row}
        peers = {name: us for name, us in medians.items() if name in PEERS}
        if peers and OURS in medians:
            best = min(peers, key=peers.__getitem__)
            found[network] = (best, medians[OURS] / peers[best])
    return found


def geomean_ratio(result: Entry) -> float | None:
    values = [ratio for _, ratio in ratios(result).values()]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def text(result: Entry) -> str:
    sections = [
        f"{result['cpu']}, {result['time_utc']}, batch 1. Compare ratios within this run, not times across runs.",
        _roofline(result["roofline"]),
        _medians("One thread, median us of a call (p99)", result, "one_thread"),
        _percentages(result),
        _medians("Two threads, median us of a call (p99)", result, "two_threads"),
        _own(result),
        _cold_start(result),
        _disk(result),
        _agreement(result),
        _errors(result),
        _ratios(result),
    ]
    mean = geomean_ratio(result)
    last = f"geomean ratio to best peer: {mean:.3f}" if mean else "geomean ratio to best peer: not measured"
    return "\n\n".join([*filter(None, sections), last])


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rows = [list(header), *map(list, rows)]
    if len(rows) == 1:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    padded = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    lines = ["  ".join([row[0].ljust(widths[0]), *cells[1:]]) for row, cells in zip(rows, padded, strict=True)]
    return "\n".join([f"## {title}", lines[0], "-" * len(lines[0]), *lines[1:]])


def _names(result: Entry, part: str) -> list[str]:
    """Rows in the catalogue's order: ours, peers, then our other paths."""
    seen = {name for entry in result["networks"].values() for name in entry[part]}
    known = [name for name in OWN | PEERS if name in seen]
    return known + sorted(seen - set(known))


def _titles(result: Entry) -> list[str]:
    return [NETWORKS[network].title for network in result["networks"]]


def _by_network(result: Entry, title: str, part: str, cell: Callable[[str, Entry], str]) -> str:
    names = _names(result, part)
    rows = [
        [name, *(cell(network, entry[part].get(name, {})) for network, entry in result["networks"].items())]
        for name in names
    ]
    return table(title, ["", *_titles(result)], rows)


def _medians(title: str, result: Entry, part: str) -> str:
    return _by_network(result, title, part, lambda _, row: _time(row))


def _time(row: Entry) -> str:
    if "median_us" not in row:
        return "failed" if row else "-"
    digits = 2 if row["median_us"] < 10 else 1 if row["median_us"] < 1000 else 0
    return f"{row['median_us']:.{digits}f} ({row['p99_us']:.{digits}f})"


def _roofline(figures: dict[str, float]) -> str:
    return table("Roofline, one core", ["", "measured"], ([name, f"{value:.1f}"] for name, value in figures.items()))


def _percentages(result: Entry) -> str:
    peak = roofline.vector_peak(result["roofline"])
    tiles = result["roofline"].get(roofline.TILE_PEAK)
    if peak is None:
        return ""
    note = f"; the CPU's tile units reach {tiles / peak:.1f} times this peak" if tiles else ""

    def cell(network: str, row: Entry) -> str:
        percent = roofline.percent_of_peak(NETWORKS[network].macs, row.get("median_us", 0), peak)
        return f"{percent:.1f}" if percent is not None else "-"

    return _by_network(result, f"One thread, % of the int8 vector peak of {peak:.0f} GMAC/s{note}", "one_thread", cell)


def _own(result: Entry) -> str:
    """Paths against the best one that only has vectors, variants against int8 on the same path; layers too."""
    measured = result["networks"] | result.get("layers", {})
    rows = []
    for name in _names(result, "one_thread"):
        kind, _, path = name.partition("@")
        cells = []
        for entry in measured.values():
            medians = {key: row["median_us"] for key, row in entry["one_thread"].items() if "median_us" in row}
            base = _base(kind, path, entry["one_thread"])
            cells.append(
                f"{medians[name] / medians[base]:.2f}" if base != name and {base, name} <= medians.keys() else "-"
            )
        if kind in OWN and set(cells) != {"-"}:
            rows.append([name, *cells])
    titles = [MEASURED[name].title for name in measured]
    title = (
        f"Time relative to {OURS}: a path to the best one without tiles, a variant to the same path "
        "(espalier-sparse: 75 % of the 4x4 blocks are zero)"
    )
    return table(title, ["", *titles], rows)


def _base(kind: str, path: str, entry: Entry) -> str:
    """The row that a row of ours is compared with, which may be the row itself."""
    if kind != OURS:
        return f"{OURS}@{path}" if path else OURS
    has_tiles = entry.get(OURS, {}).get("engine_path") == TILE_PATH
    return next(name for name in entry if name.startswith(f"{OURS}@")) if has_tiles else OURS


def _cold_start(result: Entry) -> str:
    def cell(_: str, row: Entry) -> str:
        return f"{row['wall_ms']:.0f} / {row['peak_mib']:.0f}" if "wall_ms" in row else "failed" if row else "-"

    title = "Cold start, ms from starting Python to the first result / peak RSS, MiB"
    return _by_network(result, title, "cold_start", cell)


def _disk(result: Entry) -> str:
    def cell(_: str, size: int | Entry) -> str:
        return f"{size / 1024:.1f}" if isinstance(size, int) else "-"

    rows = []
    for module, size in result["disk"].items():
        rows.append([module, *(f"{size[key] / MIB:.1f}" for key in ("total", "numpy", "own"))])
    header = ["", "with dependencies", "numpy of it", "package alone"]
    files = _by_network(result, "Model files, KiB", "model_bytes", cell)
    return "\n\n".join([files, table("Runtime on disk, MiB", header, rows)])


def _agreement(result: Entry) -> str:
    title = "Correlation of 8 outputs with the float network (weights are random: no accuracy is claimed)"
    return _by_network(
        result, title, "one_thread", lambda _, row: f"{row['correlation']:.3f}" if "correlation" in row else "-"
    )


def _errors(result: Entry) -> str:
    errors = [f"{name}: {error}" for name, error in result["failed"].items()]
    for network, entry in (result["networks"] | result.get("layers", {})).items():
        for part in ("one_thread", "two_threads", "cold_start"):
            failed = {name: row["error"] for name, row in entry.get(part, {}).items() if row.get("error")}
            errors += [f"{name}, {network}, {part}: {error}" for name, error in failed.items()]
    return "\n".join(["## What failed", *errors]) if errors else ""


def _ratios(result: Entry) -> str:
    rows = [
        [NETWORKS[network].title, best, f"{ratio:.3f}", result["networks"][network]["one_thread"][OURS]["engine_path"]]
        for network, (best, ratio) in ratios(result).items()
    ]
    return table("Our median / best peer's median, one thread", ["", "best peer", "ratio", "our path"], rows)
