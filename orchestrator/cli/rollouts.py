"""`espalier rollouts`: which devices get which model, and what was shown on the way."""

from __future__ import annotations

import uuid

import click
from rich.table import Table

from orchestrator.cli.models import MODELS
from orchestrator.cli.output import Column, Row, table
from orchestrator.cli.resource import Resource, add_list, add_show, add_watch, get, show, watch
from orchestrator.cli.session import Session, command
from orchestrator.cli.words import ago, short, when
from orchestrator.plain import to_plain


@click.group()
def rollouts() -> None:
    """Rollouts: list, show, watch, start, rollback, cancel."""


def _models(rollout: Row) -> str:
    return ", ".join(f"{m['device_class']}: {short(m['model_sha256'])}" for m in rollout["models"])


def _progress(rollout: Row) -> str:
    devices = [device for wave in rollout["waves"] for device in wave["devices"]]
    return f"{sum(device['state'] == 'committed' for device in devices)} of {len(devices)}"


def _fields(rollout: Row) -> list[tuple[str, str]]:
    fields = [
        ("rollout", rollout["id"]),
        ("model", f"{rollout['model_name']} ({_models(rollout)})"),
        ("state", rollout["state"]),
        ("message", rollout["message"] or "-"),
        ("devices done", _progress(rollout)),
        ("started", when(rollout["created_at_ms"])),
        ("changed", when(rollout["updated_at_ms"])),
    ]
    optional = (("job", rollout["job_id"]), ("decision", rollout["decision_id"]))
    return fields + [(heading, value) for heading, value in optional if value]


WAVE_COLUMNS = (
    Column("wave", lambda d: d["wave"]),
    Column("must show", lambda d: d["gate"].replace("_", " ")),
    Column("device", lambda d: d["device_id"]),
    Column("state", lambda d: (d["state"] or "assigned") if d["generation"] else "waits"),
    Column("model", lambda d: short(d["model_sha256"])),
    Column("before", lambda d: short(d["previous_model_sha256"])),
    Column("verdict", lambda d: d["verdict"]),
)


def _details(rollout: Row) -> list[Table]:
    rows = [
        {"wave": wave["name"], "gate": wave["gate"], **device}
        for wave in rollout["waves"]
        for device in wave["devices"]
    ]
    return [table(rows, WAVE_COLUMNS)] if rows else []


ROLLOUTS = Resource(
    plural="rollouts",
    item="rollout",
    key="id",
    columns=(
        Column("rollout", lambda r: r["id"]),
        Column("model", lambda r: r["model_name"]),
        Column("state", lambda r: r["state"]),
        Column("devices done", _progress, is_number=True),
        Column("versions", _models),
        Column("message", lambda r: r["message"]),
        Column("changed", lambda r: ago(r["updated_at_ms"])),
    ),
    fields=_fields,
    details=_details,
    is_over=lambda rollout: rollout["state"] != "running",
    is_good=lambda rollout: rollout["state"] == "succeeded",
)
add_list(rollouts, ROLLOUTS)
add_show(rollouts, ROLLOUTS)
add_watch(rollouts, ROLLOUTS)


@command(rollouts, "start")
@click.argument("model", metavar="MODEL")
@click.option("--device-class", default="*", show_default=True, help="Devices of this class.")
@click.option("--device", "device_ids", multiple=True, help="Only this device; may be given several times.")
@click.option("--skip-probation", is_flag=True, help="Do not compare with the model that runs now.")
@click.option("--watch", "is_watched", is_flag=True, help="Follow the rollout until it ends.")
async def start(
    session: Session, model: str, device_class: str, device_ids: tuple[str, ...], skip_probation: bool, is_watched: bool
) -> None:
    """Roll a published model out. The beginning of its digest is enough."""
    found = await get(session, MODELS, model)
    started = await session.client.rollouts.start(
        {device_class: found["sha256"]},
        device_ids=list(device_ids),
        skip_probation=skip_probation,
        client_request_id=uuid.uuid4().hex,
    )
    rollout = to_plain(started)
    if is_watched:
        await watch(session, ROLLOUTS, rollout["id"])
    else:
        show(session, ROLLOUTS, rollout)


@command(rollouts, "rollback")
@click.argument("name", metavar="ROLLOUT")
async def rollback(session: Session, name: str) -> None:
    """Halt a rollout and give every device that it touched its previous model back."""
    rollout = await get(session, ROLLOUTS, name)
    show(session, ROLLOUTS, to_plain(await session.client.rollouts.rollback(rollout["id"])))


@command(rollouts, "cancel")
@click.argument("name", metavar="ROLLOUT")
async def cancel(session: Session, name: str) -> None:
    """Start no further device. Those that have the model keep it."""
    rollout = await get(session, ROLLOUTS, name)
    show(session, ROLLOUTS, to_plain(await session.client.rollouts.cancel(rollout["id"])))
