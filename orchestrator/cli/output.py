"""How a command speaks: results on stdout, as a table or as JSON; progress and errors on stderr.

A result is plain data. With `--format json` a command prints one JSON document, a watch one JSON line for each change,
and an error is a JSON object on stderr, so that a script never parses a table.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = dict[str, Any]
WIDTH_WITHOUT_TERMINAL = 200


@dataclass(frozen=True)
class Column:
    """A heading, and how a row becomes its cell."""

    heading: str
    cell: Callable[[Row], str]
    is_number: bool = False
    style: str = ""


class Output:
    """Where one command's results, progress and errors go."""

    def __init__(self, format_name: str) -> None:
        self.is_json = format_name == "json"
        # Into a pipe or a file a table is as wide as it needs to be, or nearly so.
        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH_WITHOUT_TERMINAL
        self.results = Console(file=sys.stdout, highlight=False, width=width)
        self.progress = Console(file=sys.stderr, highlight=False, soft_wrap=True)

    def rows(self, name: str, rows: Sequence[Row], columns: Sequence[Column], **extra: Any) -> None:
        """A list of resources: a table for people, `{name: [...], **extra}` as JSON."""
        if self.is_json:
            self.document({name: list(rows), **extra})
        elif rows:
            self.results.print(table(rows, columns))
        else:
            self.progress.print(f"no {name.replace('_', ' ')}")

    def document(self, value: Any) -> None:
        """One JSON document."""
        print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False), file=sys.stdout)

    def line(self, value: Any) -> None:
        """One JSON document on one line, at once."""
        print(json.dumps(value, ensure_ascii=False, allow_nan=False), file=sys.stdout, flush=True)

    def show(self, value: Row, fields: Iterable[tuple[str, str]], *more: Any) -> None:
        """One resource: its fields one below the other for people, then `more` renderables; the whole as JSON."""
        if self.is_json:
            self.document(value)
            return
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for heading, text in fields:
            grid.add_row(heading, Text(text))
        self.results.print(grid)
        for renderable in more:
            self.results.print()
            self.results.print(renderable)

    def said(self, message: str) -> None:
        """Something worth saying beside the result."""
        self.progress.print(Text(message))

    def error(self, message: str, exit_code: int) -> None:
        if self.is_json:
            print(json.dumps({"error": message, "exit_code": exit_code}), file=sys.stderr)
        else:
            self.progress.print(Text.assemble(("error: ", "bold red"), message))


def table(rows: Iterable[Row], columns: Sequence[Column], title: str = "") -> Table:
    result = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for column in columns:
        result.add_column(
            column.heading, justify="right" if column.is_number else "left", style=column.style, overflow="fold"
        )
    for row in rows:
        result.add_row(*(styled(column.cell(row)) for column in columns))
    return result


_STYLES = {
    "running": "cyan",
    "queued": "yellow",
    "probation": "yellow",
    "succeeded": "green",
    "committed": "green",
    "improved": "green",
    "online": "green",
    "failed": "red",
    "infeasible": "red",
    "rolled_back": "red",
    "rejected": "red",
    "halted": "red",
    "offline": "red",
    "cancelled": "dim",
}


def styled(text: str) -> Text:
    """Words for states in their colour; anything else as it is (never as markup: names come from outside)."""
    return Text(text, style=_STYLES.get(text, ""))
