"""Writes the pages that say what the code says: `make docs` runs it, a test holds the pages to it.

python docs/generate.py            # docs/cli.md and docs/configuration.md
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import textwrap
import typing
from collections.abc import Callable
from pathlib import Path

from edge_agent.config import ENVIRONMENT_PREFIX, AgentConfig
from orchestrator.cli.reference import render as render_cli
from orchestrator.spec import render_markdown

DOCS = Path(__file__).resolve().parent

_CONFIGURATION = """\
# Configuration

Written by `make docs` from the code; a test holds it there. Unknown keys are errors that name the nearest known one.

## The agent

`espalier-agent run --config agent.toml`. Each later source wins: defaults, the TOML file, environment variables
(`{prefix}SECTION_KEY`, such as `{prefix}SERVING_LISTEN`), flags (`--set section.key=value`).
`ESPALIER_ENGINE_PATH` forces an engine path wherever the engine runs. `examples/agents/` has three devices.

{agent}

## The control plane

`espalier up` passes its flags on to `python -m orchestrator.main serve`.

{control_plane}

## Jobs and policies

Documents that operators write: YAML with `apiVersion: espalier/v1`, `kind`, `metadata: {{name: ...}}` and `spec`.
`examples/` has one of each.

{documents}"""


def render_configuration() -> str:
    return _CONFIGURATION.format(
        prefix=ENVIRONMENT_PREFIX,
        agent=_sections(AgentConfig),
        control_plane=_control_plane(),
        documents=render_markdown(),
    )


PAGES: dict[str, Callable[[], str]] = {"cli.md": render_cli, "configuration.md": render_configuration}


def _sections(config: type) -> str:
    """A table for each section of a configuration that is a dataclass of dataclasses."""
    tables = []
    for name, section in typing.get_type_hints(config).items():
        rows = [f"| `{row[0]}` | {row[1]} | {row[2]} | {row[3]} |" for row in _keys(section)]
        tables.append(
            "\n".join([f"### `[{name}]`", "", "| key | type | default | meaning |", "|---|---|---|---|", *rows])
        )
    return "\n\n".join(tables)


def _keys(section: type) -> list[tuple[str, str, str, str]]:
    """Key, type, default and meaning of each field of a dataclass."""
    meanings = _attribute_docstrings(section)
    hints = typing.get_type_hints(section)
    return [
        (field.name, _type_words(hints[field.name]), _default(field), meanings.get(field.name, ""))
        for field in dataclasses.fields(section)
    ]


def _attribute_docstrings(section: type) -> dict[str, str]:
    """The text below each attribute, which Python itself does not keep."""
    body = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(section))).body[0]).body
    meanings = {}
    for statement, following in itertools.pairwise(body):
        is_text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and is_text:
            text = typing.cast(ast.Constant, typing.cast(ast.Expr, following).value).value
            meanings[statement.target.id] = re.sub(r"\s+", " ", str(text)).strip()
    return meanings


def _type_words(hint: object) -> str:
    words = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path"}
    return words.get(typing.cast(type, hint), str(hint).replace("|", "or"))


def _default(field: dataclasses.Field[object]) -> str:
    if field.default is dataclasses.MISSING:
        return "see meaning" if field.default_factory is not dataclasses.MISSING else "required"
    value = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
    return f"`{value}`" if value else "empty"


def _control_plane() -> str:
    from orchestrator.config import OrchestratorConfig

    return _sections(OrchestratorConfig)


def main() -> None:
    for name, render in PAGES.items():
        (DOCS / name).write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
