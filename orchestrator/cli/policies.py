"""`espalier policies`: when what devices report starts a new compression."""

from __future__ import annotations

from typing import TextIO

import click

from orchestrator.cli.output import Column, Row
from orchestrator.cli.resource import Resource, add_list, add_show, add_watch, get, show
from orchestrator.cli.session import Session, command
from orchestrator.cli.words import ago, when
from orchestrator.plain import to_plain
from orchestrator.spec import parse_policy


@click.group()
def policies() -> None:
    """Recompression policies: apply, list, show, watch, delete."""


def _fields(policy: Row) -> list[tuple[str, str]]:
    return [
        ("policy", policy["name"]),
        ("changed", when(policy["updated_at_ms"])),
        ("document", policy["spec_yaml"].strip()),
    ]


POLICIES = Resource(
    plural="policies",
    item="policy",
    key="name",
    columns=(
        Column("policy", lambda p: p["name"]),
        Column("state", lambda p: "deleted" if p["deleted"] else "in force"),
        Column("changed", lambda p: ago(p["updated_at_ms"])),
    ),
    fields=_fields,
)
add_list(policies, POLICIES)
add_show(policies, POLICIES)
add_watch(policies, POLICIES)


@command(policies, "apply")
@click.argument("document", metavar="POLICY.YAML", type=click.File(encoding="utf-8"))
async def apply(session: Session, document: TextIO) -> None:
    """Create the policy of that name, or replace it. `-` reads standard input."""
    text = document.read()
    parse_policy(text)
    show(session, POLICIES, to_plain(await session.client.policies.apply(text)))


@command(policies, "delete")
@click.argument("name", metavar="POLICY")
async def delete(session: Session, name: str) -> None:
    """Take a policy out of force. Its decisions stay on record."""
    policy = await get(session, POLICIES, name)
    show(session, POLICIES, to_plain(await session.client.policies.delete(policy["name"])))
