"""What the demo claims at the end, each held to what this run measured; and the table that states the measurements."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from examples.demo.cameras import Measured
from orchestrator.cli.words import milliseconds, percent, short, size


@dataclass(frozen=True, kw_only=True)
class Row:
    """One device, one model version, one condition of its camera."""

    measured: Measured
    p95_us: float | None
    size_bytes: int
    decision: str


@dataclass
class Claims:
    """Claims and whether the run bore them out."""

    results: list[tuple[str, bool]] = field(default_factory=list)

    def claim(self, words: str, holds: bool) -> None:
        self.results.append((words, bool(holds)))

    @property
    def all_hold(self) -> bool:
        return bool(self.results) and all(holds for _, holds in self.results)

    def lines(self) -> list[Text]:
        return [
            Text.assemble(("  measured  ", "green") if holds else ("  NOT SHOWN ", "bold red"), words)
            for words, holds in self.results
        ]


def render_table(rows: list[Row]) -> Table:
    table = Table(title="What was measured", title_justify="left", pad_edge=False)
    for heading, justify in (
        ("device", "left"), ("model", "left"), ("its camera", "left"), ("accuracy (95 % interval)", "left"),
        ("images", "right"), ("engine p95", "right"), ("bytes", "right"), ("decision", "left"),
    ):  # fmt: skip
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        m = row.measured
        interval = f"{percent(m.accuracy)} ({percent(m.accuracy_low)} to {percent(m.accuracy_high)})"
        table.add_row(
            m.device, short(m.model_version), m.condition, interval, str(m.images), milliseconds(row.p95_us),
            size(row.size_bytes), row.decision,
        )  # fmt: skip
    return table
