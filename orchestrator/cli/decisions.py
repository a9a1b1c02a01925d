"""`espalier decisions`: what the loop decided, from what it saw, and what became of it."""

from __future__ import annotations

import json

import click

from orchestrator.cli.exit_codes import ExitCode
from orchestrator.cli.output import Column, Row
from orchestrator.cli.resource import Resource, add_list, add_watch, get, show
from orchestrator.cli.session import CommandError, Session, command
from orchestrator.cli.words import ago, short, when
from orchestrator.plain import to_plain


@click.group()
def decisions() -> None:
    """Decisions of the loop: list, show, watch, replay."""


def _fields(decision: Row) -> list[tuple[str, str]]:
    return [
        ("decision", decision["id"]),
        ("about", f"{decision['device_id']} running {short(decision['model_sha256'])}"),
        ("policy", decision["policy"]),
        ("decided", when(decision["decided_at_ms"])),
        ("action", decision["action"].replace("_", " ")),
        ("because", decision["reason"]),
        ("outcome", decision["outcome"]),
        ("job", decision["job_id"] or "-"),
        ("rollout", decision["rollout_id"] or "-"),
    ]


DECISIONS = Resource(
    plural="decisions",
    item="decision",
    key="id",
    columns=(
        Column("decision", lambda d: d["id"]),
        Column("device", lambda d: d["device_id"]),
        Column("action", lambda d: d["action"].replace("_", " ")),
        Column("outcome", lambda d: d["outcome"]),
        Column("because", lambda d: d["reason"]),
        Column("decided", lambda d: ago(d["decided_at_ms"])),
    ),
    fields=_fields,
)
add_list(decisions, DECISIONS)
add_watch(decisions, DECISIONS)


@command(decisions, "show")
@click.argument("name", metavar="DECISION")
@click.option("--evidence", "with_evidence", is_flag=True, help="Print everything that the policy saw, too.")
async def show_decision(session: Session, name: str, with_evidence: bool) -> None:
    """Show one decision. With --format json the evidence is always there."""
    decision = await get(session, DECISIONS, name)
    show(session, DECISIONS, decision)
    if with_evidence and not session.output.is_json:
        session.output.results.print()
        session.output.results.print(json.dumps(decision["evidence"], indent=2), markup=False)


@command(decisions, "replay")
@click.argument("name", metavar="DECISION")
async def replay(session: Session, name: str) -> None:
    """Run the policy again on the stored evidence and say whether it decides the same."""
    decision = await get(session, DECISIONS, name)
    answer = await session.client.decisions.replay(decision["id"])
    replayed = to_plain(answer.replayed)
    if session.output.is_json:
        session.output.document({"same": answer.same, "replayed": replayed})
    else:
        verdict = "the same" if answer.same else "something else"
        session.output.results.print(f"decides {verdict}: {replayed['action'] or 'nothing'} ({replayed['reason']})")
    if not answer.same:
        raise CommandError(f"{decision['id']} is not what the policy decides on its evidence", ExitCode.UNSUCCESSFUL)
