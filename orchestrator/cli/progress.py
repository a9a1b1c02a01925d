"""Progress: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

LINE_EVERY = 0.1
"""Without a terminal: a line for each tenth, and whenever the first word of the message changes."""


class ProgressBars:
    """Named bars from 0 to 1, each with its last message; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._last_news: dict[str, tuple[str, int]] = {}
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[message]}", style="dim", markup=False),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> ProgressBars:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    @property
    def is_live(self) -> bool:
        """Whether there are bars that move, rather than lines that stay."""
        return self._console.is_terminal

    def update(self, name: str, share: float, message: str = "") -> None:
        """Move the bar `name`; where there are no bars, print a line if there is news."""
        if not self._console.is_terminal:
            news = (message.partition(" ")[0], int(share / LINE_EVERY))
            if message and self._last_news.get(name) != news:
                self._last_news[name] = news
                self._console.print(f"      {name} {share:4.0%} {message}", markup=False)
            return
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=1.0, message="")
        self._bars.update(self._tasks[name], completed=share, message=message)
