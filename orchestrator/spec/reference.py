"""Every key of both kinds of document, for docs/configuration.md and the test that holds it to the code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from orchestrator.spec.documents import KINDS, to_plain
from orchestrator.spec.keys import Setting, settings_of, strip_hint, type_words


@dataclass(frozen=True)
class KeyReference:
    """One key as the reference shows it. `default` is "" where the key may be left out and then says nothing."""

    kind: str
    path: str  # spec.targets[].deviceClass
    type: str
    required: bool
    default: str
    meaning: str
    allowed: str  # the range, where there is one


def list_keys() -> list[KeyReference]:
    """Every key of every kind, in the order a document is written in."""
    return [reference for kind, cls in KINDS.items() for reference in _walk(kind, cls, "spec")]


def _walk(kind: str, cls: type, path: str) -> Iterator[KeyReference]:
    for setting in settings_of(cls):
        if setting.rule.hidden:
            continue
        bare = strip_hint(setting.hint)
        is_list = get_origin(bare) is tuple
        inner = strip_hint(get_args(bare)[0]) if is_list else bare
        below = f"{path}.{setting.key}" + ("[]" if is_list else "")
        yield _reference(kind, f"{path}.{setting.key}", setting)
        if dataclasses.is_dataclass(inner) and isinstance(inner, type):
            yield from _walk(kind, inner, below)


def _reference(kind: str, path: str, setting: Setting) -> KeyReference:
    return KeyReference(
        kind=kind,
        path=path,
        type=type_words(setting.hint),
        required=setting.required,
        default=_default_words(setting),
        meaning=setting.rule.meaning,
        allowed=setting.rule.range_words() or setting.rule.pattern_words,
    )


def _default_words(setting: Setting) -> str:
    value: Any = setting.default
    if setting.required or value is None or dataclasses.is_dataclass(value):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | dict):
        return str(to_plain(value))
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def render_markdown() -> str:
    """The tables of docs/configuration.md, one per kind."""
    sections = []
    for kind in KINDS:
        rows = [reference for reference in list_keys() if reference.kind == kind]
        lines = [f"### `kind: {kind}`", "", "| key | type | default | meaning |", "|---|---|---|---|"]
        lines += [f"| `{row.path}` | {row.type} | {_default_cell(row)} | {_meaning_cell(row)} |" for row in rows]
        sections.append("\n".join(lines))
    return "\n\n".join(sections) + "\n"


def _default_cell(row: KeyReference) -> str:
    if row.required:
        return "required"
    return f"`{row.default}`" if row.default else ""


def _meaning_cell(row: KeyReference) -> str:
    return f"{row.meaning}; {row.allowed}" if row.allowed else row.meaning
