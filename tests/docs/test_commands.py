"""Commands that the documentation tells people to type are commands that exist, with options that exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edge_agent.main import build_parser as agent_parser
from orchestrator.cli.main import main as espalier

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.yaml"))]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def typed() -> Iterator[tuple[Path, str]]:
    """Commands in fenced blocks and in `backticks`, and in comments of examples."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if page.name == "cli.md":
            continue
        fenced = re.findall(r"^(?:\$ |#? {4})?((?:espalier|espalier-agent|make|python) .+)$", text, re.MULTILINE)
        quoted = re.findall(r"`((?:espalier|espalier-agent|make) [^`]+)`", text.replace("\n", " "))
        for command in {*fenced, *quoted}:
            yield page, command.split("  #")[0].strip()


COMMANDS = sorted(set(typed()), key=str)


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_documented_command_exists(page: Path, command: str) -> None:
    program, *arguments = shlex.split(command)
    if program == "make":
        assert set(re.findall(r"[a-z][a-z-]+", arguments[0])) <= TARGETS, f"{page.name}: {command}"
    elif program == "espalier-agent":
        agent_parser().parse_args(arguments)
    elif program == "python":
        names = [name for name in arguments if name.endswith(".py")]
        assert all((ROOT / name).is_file() for name in names), f"{page.name}: {command}"
    else:
        check_espalier(arguments, f"{page.name}: {command}")


def check_espalier(arguments: list[str], where: str) -> None:
    node: click.Command = espalier
    names = list(arguments)
    while isinstance(node, click.Group) and names and not names[0].startswith("-"):
        assert names[0] in node.commands, f"{where}: no command {names[0]!r}"
        node = node.commands[names.pop(0)]
    known = {name for parameter in node.params for name in parameter.opts} | {"--help"}
    unknown = [name for name in names if name.startswith("-") and name.split("=")[0] not in known]
    assert not unknown, f"{where}: no option {unknown}"


def test_commands_are_found_at_all() -> None:
    assert len(COMMANDS) > 15
