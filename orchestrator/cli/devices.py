"""`espalier devices`: who is out there, what each runs, and the samples that were returned."""

from __future__ import annotations

import click

from orchestrator.cli.exit_codes import ExitCode
from orchestrator.cli.output import Column, Row
from orchestrator.cli.resource import Resource, add_list, add_show, add_watch, get
from orchestrator.cli.session import CommandError, Session, command
from orchestrator.cli.words import ago, count_of, short, size, when
from orchestrator.plain import to_plain


@click.group()
def devices() -> None:
    """Devices: list, show, watch, and the samples they returned."""


@devices.group()
def samples() -> None:
    """Labelled inputs that consenting devices returned for training."""


def _presence(device: Row) -> str:
    return "online" if device["online"] else "offline"


def _fact(name: str) -> Column:
    return Column(name.replace("_", " "), lambda device: (device["facts"] or {}).get(name) or "-")


def _limits(facts: Row) -> str:
    limits = [
        (facts["model_bytes_limit"], f"model {size(facts['model_bytes_limit'])}"),
        (facts["ram_bytes_limit"], f"RAM {size(facts['ram_bytes_limit'])}"),
        (facts["latency_p95_limit_ms"], f"p95 {facts['latency_p95_limit_ms']:g} ms"),
    ]
    return ", ".join(words for value, words in limits if value) or "none"


def _fields(device: Row) -> list[tuple[str, str]]:
    facts = device["facts"]
    fields = [
        ("device", device["id"]),
        ("presence", f"{_presence(device)}, seen {ago(device['last_seen_ms'])}"),
        ("runs", device["running_model_sha256"] or "no model yet"),
        ("before that", device["previous_model_sha256"] or "-"),
        ("state", f"{device['action_state'] or '-'} {device['action_detail']}".strip()),
        ("returns samples", "yes" if device["samples_consent"] else "no"),
    ]
    if facts:
        fields += [
            ("class", facts["device_class"]),
            ("limits", _limits(facts)),
            ("engine", f"{facts['engine_path']} (could use {', '.join(facts['engine_paths'])})"),
            ("machine", f"{facts['machine']} {facts['cpu_model']}".strip()),
            ("agent", facts["agent_version"]),
        ]
    if device["assignment"]:
        fields.append(("assigned", f"generation {device['assignment']['generation']}"))
    pairs = device["pairs"]
    if pairs and pairs["pairs"]:
        judged = f"new alone right {pairs['only_new_correct']}, old alone right {pairs['only_old_correct']}"
        fields.append(("last probation", f"{pairs['pairs']} pairs, {pairs['agreements']} agree; {judged}"))
    return fields


DEVICES = Resource(
    plural="devices",
    item="device",
    key="id",
    columns=(
        Column("device", lambda d: d["id"]),
        _fact("device_class"),
        Column("presence", _presence),
        _fact("engine_path"),
        Column("runs", lambda d: short(d["running_model_sha256"])),
        Column("state", lambda d: d["action_state"] or "-"),
        Column("seen", lambda d: ago(d["last_seen_ms"])),
    ),
    fields=_fields,
)
add_list(devices, DEVICES)
add_show(devices, DEVICES)
add_watch(devices, DEVICES)

SAMPLE_COLUMNS = (
    Column("device", lambda s: s["device_id"]),
    Column("samples", lambda s: str(s["samples"]), is_number=True),
    Column("oldest", lambda s: when(s["oldest_ms"])),
    Column("deleted at the latest", lambda s: when(s["expires_at_ms"])),
)


@command(samples, "list")
async def list_samples(session: Session) -> None:
    """How many samples are held of each device, and until when."""
    answer = await session.client.devices.sample_stats()
    session.output.rows("stats", [to_plain(item) for item in answer.stats], SAMPLE_COLUMNS)


@command(samples, "delete")
@click.argument("name", metavar="DEVICE")
@click.option("--yes", is_flag=True, help="Do not ask.")
async def delete_samples(session: Session, name: str, yes: bool) -> None:
    """Delete the returned samples of one device for good."""
    device = await get(session, DEVICES, name)
    if not yes:
        if session.output.is_json:
            raise CommandError("deleting cannot be undone; say --yes", ExitCode.USAGE)
        click.confirm(f"Delete every sample that {device['id']} returned?", abort=True, err=True)
    answer = await session.client.devices.delete_samples(device["id"])
    if session.output.is_json:
        session.output.document({"device_id": device["id"], "deleted": answer.deleted})
    else:
        session.output.said(f"deleted {count_of(answer.deleted, 'sample')} of {device['id']}")
