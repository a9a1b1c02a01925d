"""The Pareto fronts of a job, one for each device class, from what its candidates measured there. Pure.

A point is a candidate on a class; costs are accuracy lost, p95, bytes and RAM. Figures of the control plane's CPU,
where no device of the class was there, are kept apart from a device's own by saying so, not by leaving them out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator.cli.output import Row
from orchestrator.search.pareto import Costs, front_of


def fronts(job: Row) -> list[Row]:
    """For each class that measured something: its points on the front, best accuracy first, and the others."""
    classes = sorted({m["device_class"] for candidate in job["candidates"] for m in candidate["measurements"]})
    return [_front(job, device_class) for device_class in classes]


def _front(job: Row, device_class: str) -> Row:
    has_its_own = any(device_class in candidate["chosen_for"] for candidate in job["candidates"])
    target = device_class if has_its_own else "*"  # what is chosen for every class is for those without a choice
    points = [point for candidate in job["candidates"] if (point := _point(job, candidate, device_class, target))]
    on_front = front_of(points, _costs)
    return {
        "device_class": device_class,
        "chosen": next((point["candidate"] for point in points if point["is_chosen"]), None),
        "front": _ordered(on_front),
        "dominated": _ordered(point for point in points if point not in on_front),
    }


def _point(job: Row, candidate: Row, device_class: str, target: str) -> Row | None:
    """The worst that devices of the class measured; the control plane's CPU counts where there is nothing else."""
    measured = [m for m in candidate["measurements"] if m["device_class"] == device_class]
    counted = [m for m in measured if not m["on_control_plane"]] or measured
    if not counted:
        return None
    teacher = job["teacher_accuracy"]
    return {
        "candidate": candidate["name"],
        "model_sha256": candidate["model_sha256"],
        "accuracy": candidate["accuracy"],
        "accuracy_drop": teacher - candidate["accuracy"] if teacher else None,
        "latency_p50_us": max(m["latency_p50_us"] for m in counted),
        "latency_p95_us": max(m["latency_p95_us"] for m in counted),
        "model_bytes": candidate["model_bytes"],
        "peak_ram_bytes": max(m["peak_ram_bytes"] for m in counted),
        "on_control_plane": bool(counted[0]["on_control_plane"]),
        "is_chosen": target in candidate["chosen_for"],
    }


def _costs(point: Row) -> Costs:
    return (-point["accuracy"], point["latency_p95_us"], float(point["model_bytes"]), float(point["peak_ram_bytes"]))


def _ordered(points: Iterable[Row]) -> list[dict[str, Any]]:
    return sorted(points, key=lambda point: (_costs(point), point["candidate"]))
