"""Draws fronts as an SVG by a few lines of our own: four kinds of marks need no plotting library.

One panel for each device class: p95 to the right, accuracy upwards; an area stands for bytes. Points on the front are
filled, the chosen one is ringed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from orchestrator.cli.output import Row
from orchestrator.cli.words import size
from orchestrator.search.pareto import front_of

WIDTH, HEIGHT = 520, 360
LEFT, RIGHT, TOP, BOTTOM = 62, 24, 44, 48
TICKS = 5
LARGEST_RADIUS = 13.0
FRONT, OTHER, CHOSEN = "#0b6e4f", "#9aa5a0", "#c8553d"


@dataclass(frozen=True)
class _Scale:
    """From a range of values to a range of pixels."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float) -> _Scale:
        low, high = min(values), max(values)
        margin = (high - low) * 0.12 or abs(high) * 0.1 or 1.0
        return cls(low - margin, high + margin, start, end)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values, about `TICKS` of them."""
        rough = (self.high - self.low) / TICKS
        magnitude = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough)
        first = math.ceil(self.low / step)
        return [index * step for index in range(first, math.floor(self.high / step) + 1)]


def draw(title: str, classes: Sequence[Row]) -> str:
    """An SVG document of `fronts.fronts`' rows."""
    panels = [_panel(row, index * WIDTH) for index, row in enumerate(classes)]
    width = WIDTH * max(len(panels), 1)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" viewBox="0 0 {width} {HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="11">'
    )
    background = f'<rect width="{width}" height="{HEIGHT}" fill="white"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", background, *panels, "</svg>"]) + "\n"


def _panel(row: Row, offset: int) -> str:
    points = [*row["front"], *row["dominated"]]
    x = _Scale.around([point["latency_p95_us"] / 1000 for point in points], LEFT, WIDTH - RIGHT)
    y = _Scale.around([100 * point["accuracy"] for point in points], HEIGHT - BOTTOM, TOP)
    largest = max(point["model_bytes"] for point in points) or 1
    marks = [_mark(point, x, y, largest, is_front=False) for point in row["dominated"]]
    marks += [_line(row["front"], x, y), *(_mark(point, x, y, largest, is_front=True) for point in row["front"])]
    heading = f'<text x="{LEFT}" y="22" font-size="14" font-weight="600">{escape(row["device_class"])}</text>'
    return "\n".join([f'<g transform="translate({offset} 0)">', heading, *_axes(x, y), *marks, "</g>"])


def _axes(x: _Scale, y: _Scale) -> list[str]:
    lines = []
    for value in x.ticks():
        lines.append(f'<path d="M{x(value):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#e4e8e6"/>')
        lines.append(
            f'<text x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle" fill="#55605b">{value:g}</text>'
        )
    for value in y.ticks():
        lines.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="#e4e8e6"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#55605b">{value:.4g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    lines.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">p95 of engine time, ms</text>')
    lines.append(f'<text x="{LEFT}" y="{TOP - 8}">accuracy, %; area: bytes</text>')
    return lines


def _line(front: Sequence[Row], x: _Scale, y: _Scale) -> str:
    """Through those that nothing beats in the two drawn figures; the rest of the front is smaller or needs less RAM."""
    joined = front_of(front, lambda point: (point["latency_p95_us"], -point["accuracy"]))
    places = sorted((x(point["latency_p95_us"] / 1000), y(100 * point["accuracy"])) for point in joined)
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
    return f'<polyline points="{path}" fill="none" stroke="{FRONT}" stroke-opacity="0.35"/>'


def _mark(point: Row, x: _Scale, y: _Scale, largest: int, *, is_front: bool) -> str:
    px, py = x(point["latency_p95_us"] / 1000), y(100 * point["accuracy"])
    radius = max(LARGEST_RADIUS * math.sqrt(point["model_bytes"] / largest), 2.5)
    fill = f'fill="{FRONT}" fill-opacity="0.75"' if is_front else 'fill="none"'
    colour, width = (CHOSEN, 3) if point["is_chosen"] else (FRONT if is_front else OTHER, 1)
    style = f'{fill} stroke="{colour}" stroke-width="{width}"'
    where = " (control plane's CPU)" if point["on_control_plane"] else ""
    told = (
        f"{point['candidate']}: {100 * point['accuracy']:.2f} %, p95 {point['latency_p95_us'] / 1000:.3f} ms{where}, "
        f"{size(point['model_bytes'])}"
    )
    mark = f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{radius:.1f}" {style}><title>{escape(told)}</title></circle>'
    if not is_front:
        return mark
    anchor = "end" if px > WIDTH / 2 else "start"
    shift = -radius - 3 if anchor == "end" else radius + 3
    name = escape(point["candidate"])
    return f'{mark}<text x="{px + shift:.1f}" y="{py + 4:.1f}" text-anchor="{anchor}">{name}</text>'
