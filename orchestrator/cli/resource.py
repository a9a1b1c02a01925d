"""`list`, `show` and `watch`, which every resource has, made once from a description of the resource."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click
from rich.table import Table

from orchestrator.cli.exit_codes import ExitCode
from orchestrator.cli.output import Column, Row, styled
from orchestrator.cli.session import CommandError, Session, command
from orchestrator.plain import to_plain

SHORTEST_PREFIX = 4


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One kind of thing that the control plane knows, as the command line shows it."""

    plural: str  # attribute of the client and key of the JSON list
    item: str  # field of a watch event
    key: str  # field that names one
    columns: Sequence[Column]
    fields: Callable[[Row], list[tuple[str, str]]]
    details: Callable[[Row], list[Table]] = lambda row: []
    is_over: Callable[[Row], bool] | None = None  # where a watch of one ends by itself
    is_good: Callable[[Row], bool] = lambda row: True

    def calls(self, session: Session) -> Any:
        return getattr(session.client, self.plural)


def add_list(group: click.Group, resource: Resource) -> None:
    @command(group, "list")
    @click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most this many.")
    async def list_command(session: Session, limit: int) -> None:
        answer = await resource.calls(session).list(limit=limit)
        rows = [to_plain(item) for item in getattr(answer, resource.plural)]
        session.output.rows(resource.plural, rows, resource.columns, revision=answer.revision)

    list_command.help = f"List {resource.plural}."


def add_show(group: click.Group, resource: Resource) -> None:
    @command(group, "show")
    @click.argument("name", metavar=resource.item.upper())
    async def show_command(session: Session, name: str) -> None:
        show(session, resource, await get(session, resource, name))

    show_command.help = f"Show one {resource.item} in full. The beginning of its name is enough."


def add_watch(group: click.Group, resource: Resource) -> None:
    @command(group, "watch")
    @click.argument("name", metavar=f"[{resource.item.upper()}]", required=False)
    async def watch_command(session: Session, name: str | None) -> None:
        await watch(session, resource, name)

    ends = " Of one, until it ends: the exit code says whether it ended well." if resource.is_over else ""
    watch_command.help = f"Print each change of {resource.plural}, or of one {resource.item}.{ends}"


async def get(session: Session, resource: Resource, name: str) -> Row:
    """The one whose name begins with `name`.

    Raises:
        CommandError: none or several do.
    """
    answer = await resource.calls(session).list(limit=1000)
    rows = [to_plain(item) for item in getattr(answer, resource.plural)]
    exact = [row for row in rows if row[resource.key] == name]
    matches = exact or [row for row in rows if len(name) >= SHORTEST_PREFIX and row[resource.key].startswith(name)]
    if len(matches) > 1:
        names = ", ".join(sorted(row[resource.key] for row in matches)[:4])
        raise CommandError(f"{name!r} is the beginning of several {resource.plural}: {names}", ExitCode.NOT_FOUND)
    if not matches:
        raise CommandError(f"no {resource.item} {name!r}; see `espalier {resource.plural} list`", ExitCode.NOT_FOUND)
    return matches[0]


def show(session: Session, resource: Resource, row: Row) -> None:
    session.output.show(row, resource.fields(row), *resource.details(row))


async def watch(session: Session, resource: Resource, name: str | None) -> None:
    """List, then follow from the list's revision, so that nothing is missed.

    Raises:
        CommandError: what was watched ended, but not well.
    """
    answer = await resource.calls(session).list(limit=1000)
    rows = [to_plain(item) for item in getattr(answer, resource.plural)]
    if name is not None:
        rows = [await get(session, resource, name)]
        name = rows[0][resource.key]
    for row in rows:
        _print_change(session, resource, row, answer.revision)
        if name is not None and resource.is_over and resource.is_over(row):
            return end(resource, row)
    async for event in resource.calls(session).watch(from_revision=answer.revision, id=name or ""):
        row = to_plain(getattr(event, resource.item))
        if name is not None and row[resource.key] != name:
            continue
        _print_change(session, resource, row, event.revision)
        if name is not None and resource.is_over and resource.is_over(row):
            return end(resource, row)
    return None


def end(resource: Resource, row: Row) -> None:
    """Make the way it ended the exit code."""
    if not resource.is_good(row):
        message = row.get("message") or ""
        raise CommandError(f"{resource.item} {row[resource.key]} {row['state']}: {message}", ExitCode.UNSUCCESSFUL)


def _print_change(session: Session, resource: Resource, row: Row, revision: int) -> None:
    if session.output.is_json:
        session.output.line({"revision": revision, resource.item: row})
        return
    cells = Table.grid(padding=(0, 2))
    cells.add_row(*(styled(column.cell(row)) for column in resource.columns))
    session.output.results.print(cells)
