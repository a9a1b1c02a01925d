"""`espalier telemetry`: what devices report, merged per device and model."""

from __future__ import annotations

import re
import time
from typing import Any

import click

from orchestrator.cli.models import MODELS
from orchestrator.cli.output import Column, Row
from orchestrator.cli.resource import get
from orchestrator.cli.session import Session, command
from orchestrator.cli.words import milliseconds, percent, short, size
from orchestrator.plain import to_plain

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.group()
def telemetry() -> None:
    """What devices report: show, watch."""


class Span(click.ParamType[float]):
    """A stretch of time: 90s, 10m, 2h, 7d."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(value))
        if match is None:
            self.fail(f"{value!r} is not a stretch of time such as 90s, 10m, 2h or 7d", param, ctx)
        return float(match[1]) * _UNITS_S[match[2]]


def _share(row: Row, part: str, whole: str) -> str:
    total = row["total"]
    return percent(total[part] / total[whole]) if total and total[whole] else "-"


def _quantile(row: Row, sketch: str, name: str) -> str:
    values = (row["total"] or {}).get(sketch)
    return milliseconds(values[name] if values else None)


COLUMNS = (
    Column("device", lambda r: r["device_id"]),
    Column("model", lambda r: short(r["model_sha256"])),
    Column("requests", lambda r: f"{r['total']['requests']:,}", is_number=True),
    Column("errors", lambda r: _share(r, "errors", "requests"), is_number=True),
    Column("labelled", lambda r: f"{r['total']['labelled']:,}", is_number=True),
    Column("accuracy", lambda r: _share(r, "labelled_correct", "labelled"), is_number=True),
    Column("engine p50", lambda r: _quantile(r, "engine_latency_us", "p50"), is_number=True),
    Column("engine p95", lambda r: _quantile(r, "engine_latency_us", "p95"), is_number=True),
    Column("request p95", lambda r: _quantile(r, "request_latency_us", "p95"), is_number=True),
    Column("RSS", lambda r: size(r["total"]["rss_bytes"]), is_number=True),
    Column("dropped", lambda r: str(r["dropped_records"]), is_number=True),
)


@command(telemetry, "show")
@click.option("--device", "device_id", default="", help="Only this device.")
@click.option("--device-class", default="", help="Only devices of this class.")
@click.option("--model", default="", help="Only this model; the beginning of its digest is enough.")
@click.option("--since", "since_s", type=Span(), help="Only the newest stretch of time, e.g. 10m. Default: everything.")
async def show_telemetry(
    session: Session, device_id: str, device_class: str, model: str, since_s: float | None
) -> None:
    """Windows merged per device and model: counters summed, percentiles of all requests together."""
    sha256 = (await get(session, MODELS, model))["sha256"] if model else ""
    from_ms = round((time.time() - since_s) * 1000) if since_s is not None else 0
    answer = await session.client.telemetry.query(
        device_id=device_id, device_class=device_class, model_sha256=sha256, from_ms=from_ms
    )
    rows = [to_plain(summary) for summary in answer.summaries]
    session.output.rows("summaries", rows, COLUMNS, revision=answer.revision)


@command(telemetry, "watch")
@click.argument("device_id", metavar="[DEVICE]", required=False)
async def watch_telemetry(session: Session, device_id: str | None) -> None:
    """Print each window as it arrives."""
    async for event in session.client.telemetry.watch(id=device_id or ""):
        window = to_plain(event.window)
        if session.output.is_json:
            session.output.line({"revision": event.revision, "device_id": event.device_id, "window": window})
        else:
            row = {"device_id": event.device_id, "model_sha256": window["model_sha256"], "total": window}
            words = (f"{c.heading} {c.cell({**row, 'dropped_records': 0})}" for c in COLUMNS[2:8])
            session.output.results.print(f"{event.device_id} {short(window['model_sha256'])}: {', '.join(words)}")
