"""`espalier config`: which control plane commands talk to, and why."""

from __future__ import annotations

import os

import click

from orchestrator.cli.profiles import config_path, read_profiles
from orchestrator.cli.session import Session, command


@click.group()
def config() -> None:
    """Profiles and addresses: show."""


@command(config, "show")
async def show_config(session: Session) -> None:
    """Say which address is used, where it came from, and which profiles there are."""
    path = config_path(os.environ)
    profiles = read_profiles(path)
    row = {"address": session.target.address, "source": session.target.source, "file": str(path), "profiles": profiles}
    fields = [
        ("address", session.target.address),
        ("from", session.target.source),
        ("profiles in", f"{path}{'' if path.exists() else ' (not there)'}"),
        *((f"  {name}", address) for name, address in profiles.items()),
    ]
    session.output.show(row, fields)
