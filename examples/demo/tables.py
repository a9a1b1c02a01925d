"""The demo's tables along the way: what competed, and how a rollout went."""

from __future__ import annotations

from rich.table import Table

from examples.demo.devices import DEVICES
from examples.demo.fleet import Item
from orchestrator.cli.output import Column, table
from orchestrator.cli.words import milliseconds, percent, size


def candidates_table(job: Item) -> Table:
    """One row per candidate, with the p95 that each class of devices measured."""
    columns = [
        Column("candidate", lambda c: c["name"]),
        Column("accuracy", lambda c: percent(c["accuracy"]), is_number=True),
        Column("size", lambda c: size(c["model_bytes"]), is_number=True),
        *(_p95_column(device.device_class) for device in DEVICES),
        Column("chosen for", lambda c: ", ".join(c["chosen_for"]) or "-"),
    ]
    return table(job["candidates"], columns)


def _p95_column(device_class: str) -> Column:
    def cell(candidate: Item) -> str:
        for measurement in candidate["measurements"]:
            if measurement["device_class"] == device_class:
                words = milliseconds(measurement["latency_p95_us"])
                return f"({words})" if measurement["on_control_plane"] else words
        return "-"

    return Column(f"p95 {device_class}", cell, is_number=True)


WAVE_COLUMNS = (
    Column("wave", lambda d: d["wave"]),
    Column("must show", lambda d: d["gate"].replace("_", " ")),
    Column("device", lambda d: d["device_id"]),
    Column("state", lambda d: d["state"]),
    Column("verdict", lambda d: d["verdict"]),
)


def waves_table(rollout: Item) -> Table:
    rows = [
        {"wave": wave["name"], "gate": wave["gate"], **device}
        for wave in rollout["waves"]
        for device in wave["devices"]
    ]
    return table(rows, WAVE_COLUMNS)
