"""`espalier models pareto JOB`: what a job found for each device class, as tables, JSON or a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.exit_codes import ExitCode
from orchestrator.cli.front_picture import draw
from orchestrator.cli.fronts import fronts
from orchestrator.cli.jobs import JOBS, search_words
from orchestrator.cli.output import Column, Row, table
from orchestrator.cli.resource import get
from orchestrator.cli.session import CommandError, Session, command
from orchestrator.cli.words import milliseconds, percent, short, size


def _drop(point: Row) -> str:
    return "-" if point["accuracy_drop"] is None else f"{100 * point['accuracy_drop']:+.2f}"


POINT_COLUMNS = (
    Column("candidate", lambda p: p["candidate"]),
    Column("model", lambda p: short(p["model_sha256"])),
    Column("accuracy", lambda p: percent(p["accuracy"]), is_number=True),
    Column("points lost", _drop, is_number=True),
    Column("p95", lambda p: milliseconds(p["latency_p95_us"]), is_number=True),
    Column("size", lambda p: size(p["model_bytes"]), is_number=True),
    Column("RAM", lambda p: size(p["peak_ram_bytes"]), is_number=True),
    Column("measured on", lambda p: "the control plane" if p["on_control_plane"] else "a device"),
    Column("", lambda p: "chosen" if p["is_chosen"] else ""),
)
BLOCK_COLUMNS = (Column("nearest", lambda c: c["name"]), Column("what blocks it", lambda c: c["verdict"]))


def add_pareto(group: click.Group) -> None:
    @command(group, "pareto")
    @click.argument("name", metavar="JOB")
    @click.option(
        "--picture",
        type=click.Path(dir_okay=False, writable=True, path_type=Path),
        help="Draw the fronts into this file, an SVG.",
    )
    async def pareto(session: Session, name: str, picture: Path | None) -> None:
        """Show the Pareto front of a job for each device class: measured numbers, or what blocks the nearest points."""
        if picture is not None and picture.suffix.lower() != ".svg":
            raise CommandError(f"{picture}: pictures are drawn as SVG; name a file that ends in .svg", ExitCode.USAGE)
        job = await get(session, JOBS, name)
        classes = fronts(job)
        if not classes:
            raise CommandError(
                f"job {job['id']} ({job['state']}) has no measured candidates{_so_far(job)}", ExitCode.UNSUCCESSFUL
            )
        if picture is not None:
            _write(picture, draw(f"{job['name']}: {job['id']}", classes))
            session.output.said(f"drawn into {picture}")
        session.output.show(document(job, classes), _fields(job), *_tables(job, classes))


def _write(picture: Path, content: str) -> None:
    try:
        picture.write_text(content, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{picture} cannot be written: {error.strerror}", ExitCode.ENVIRONMENT) from error


def _so_far(job: Row) -> str:
    return " yet; `espalier jobs watch` follows it" if job["state"] in ("queued", "running") else f": {job['message']}"


def document(job: Row, classes: list[Row]) -> Row:
    keys = ("id", "name", "state", "message", "teacher_accuracy", "search")
    nearest = [{key: c[key] for key in ("name", "verdict")} for c in _blocked(job, classes)]
    return {**{key: job[key] for key in keys}, "classes": classes, "nearest": nearest}


def _fields(job: Row) -> list[tuple[str, str]]:
    fields = [("job", job["id"]), ("state", job["state"]), ("result", job["message"] or "-")]
    if job["teacher_accuracy"]:
        fields.append(("teacher", f"{percent(job['teacher_accuracy'])} on the choose split"))
    if job["search"]:
        fields.append(("search", search_words(job["search"])))
    return fields


def _tables(job: Row, classes: list[Row]) -> list[Any]:
    blocked = _blocked(job, classes)
    tables = [table(blocked, BLOCK_COLUMNS)] if blocked else []
    for row in classes:
        points = row["front"] if row["chosen"] else [*row["front"], *row["dominated"]]
        tables.append(table(points, POINT_COLUMNS, row["device_class"]))
    return tables


def _blocked(job: Row, classes: list[Row]) -> list[Row]:
    """Every candidate, for its verdict, where some class has no choice."""
    return job["candidates"] if any(row["chosen"] is None for row in classes) else []
