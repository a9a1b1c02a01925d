"""Tells the story: headlines, bars while something takes long, plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from orchestrator.cli.progress import ProgressBars

WIDTH_WITHOUT_TERMINAL = 150


class Narrator:
    def __init__(self) -> None:
        self._begun = time.monotonic()
        plain = Console()
        # A log is read later and elsewhere: tables there are not squeezed into what a terminal happens to have.
        self.console = Console(
            highlight=False, soft_wrap=True, width=None if plain.is_terminal else WIDTH_WITHOUT_TERMINAL
        )

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._begun

    def chapter(self, title: str) -> None:
        self.console.print()
        self.console.rule(Text(title, style="bold"), align="left")

    def say(self, words: str, style: str = "") -> None:
        minutes, seconds = divmod(round(self.elapsed_s), 60)
        self.console.print(Text.assemble((f"{minutes}:{seconds:02d}  ", "dim"), (words, style)))

    def show(self, renderable: RenderableType) -> None:
        self.console.print(Padding(renderable, (0, 0, 0, 6)))

    @contextmanager
    def bars(self) -> Iterator[ProgressBars]:
        with ProgressBars(self.console) as bars:
            yield bars
