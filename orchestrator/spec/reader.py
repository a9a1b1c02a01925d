"""Reads a YAML node into a dataclass, driven by nothing but the dataclass.

Works on PyYAML's nodes, because only they know lines; values are never constructed by YAML's own rules, which turn `on`
into true and `1:30` into ninety. Hostile text is refused before it is composed: aliases (they multiply), tags (they
construct), depth and size.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

import yaml

from orchestrator.spec.errors import SpecError
from orchestrator.spec.keys import rule_of, settings_of, strip_hint

MAX_TEXT_BYTES = 1 << 20
MAX_DEPTH = 24

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,4})?")
_NOT_FINITE = re.compile(r"[+-]?\.?(nan|inf|infinity)", re.IGNORECASE)


def compose(text: str) -> list[yaml.Node]:
    """The documents in `text` as nodes.

    Raises:
        SpecError: it is not YAML, or more than plain mappings, lists and scalars.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES:
        raise SpecError(f"is longer than {MAX_TEXT_BYTES} bytes")
    try:
        _refuse_hostile(yaml.parse(text, Loader=yaml.SafeLoader))
        return [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise SpecError(
            f"is not valid YAML: {error.problem or error.context}", line=mark.line + 1 if mark else 0
        ) from None
    except yaml.YAMLError as error:
        raise SpecError(f"is not valid YAML: {' '.join(str(error).split())}") from None
    except (ValueError, OverflowError) as error:
        # PyYAML lets these through for odd escapes and directives.
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"is not valid YAML: {error}") from None


def _refuse_hostile(events: Iterable[yaml.Event]) -> None:
    depth = 0
    for event in events:
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise SpecError("anchors and aliases are not supported: write the value out", line=line)
        tag = getattr(event, "tag", None)
        if tag:
            raise SpecError(f"tags such as {tag!r} are not supported", line=line)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise SpecError(f"is nested deeper than {MAX_DEPTH} levels", line=line)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def line_of(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def read_mapping(node: yaml.Node, path: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    """Key -> (key node, value node); repeated keys and keys that are not text are refused."""
    if not isinstance(node, yaml.MappingNode):
        raise SpecError(f"must be a section with keys, not {_shape(node)}", line=line_of(node), key=path)
    entries: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise SpecError("a key must be text", line=line_of(key_node), key=path)
        key = key_node.value
        if key in entries:
            first = line_of(entries[key][0])
            raise SpecError(f"is given twice, first in line {first}", line=line_of(key_node), key=_join(path, key))
        entries[key] = (key_node, value_node)
    return entries


def read_dataclass(node: yaml.Node, cls: type, path: str, given: Mapping[str, Any] | None = None) -> Any:
    """An instance of `cls` from a mapping; `given` holds the attributes that are not keys of it."""
    entries = read_mapping(node, path)
    settings = [setting for setting in settings_of(cls) if not setting.rule.hidden]
    refuse_unknown(entries, [setting.key for setting in settings], path)
    values: dict[str, Any] = dict(given or {})
    for setting in settings:
        if setting.key in entries:
            values[setting.attribute] = _read(entries[setting.key][1], setting.hint, _join(path, setting.key))
        elif setting.required:
            raise SpecError(f"needs the key {setting.key!r}: {setting.rule.meaning}", line=line_of(node), key=path)
    made = cls(**values)
    if hasattr(made, "problems"):
        for key, message in made.problems():
            blamed = entries[key][1] if key in entries else node
            raise SpecError(message, line=line_of(blamed), key=_join(path, key))
    return made


def refuse_unknown(entries: Mapping[str, tuple[yaml.Node, yaml.Node]], known: list[str], path: str) -> None:
    for key, (key_node, _) in entries.items():
        if key not in known:
            nearest = suggest(key, known)
            message = "unknown key" if nearest else f"unknown key; known here: {', '.join(known)}"
            raise SpecError(message, line=line_of(key_node), key=_join(path, key), suggestion=nearest)


def suggest(word: str, known: Iterable[str]) -> str:
    """The known word nearest to `word`, or nothing; case, dashes and underscores do not count."""
    folded = {_fold(candidate): candidate for candidate in known}
    matches = difflib.get_close_matches(_fold(word), list(folded), n=1, cutoff=0.6)
    return folded[matches[0]] if matches else ""


def _fold(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "")


def _read(node: yaml.Node, hint: Any, path: str) -> Any:
    bare = strip_hint(hint)
    if _is_plain(node) and node.value in ("", "~", "null", "Null", "NULL"):
        raise SpecError("has no value: give one, or leave the key out", line=line_of(node), key=path)
    value = _read_bare(node, bare, path)
    rule = rule_of(hint)
    violation = rule.violation(value) if rule else ""
    if violation:
        raise SpecError(violation, line=line_of(node), key=path)
    return value


def _read_bare(node: yaml.Node, bare: Any, path: str) -> Any:
    origin = get_origin(bare)
    if dataclasses.is_dataclass(bare) and isinstance(bare, type):
        return read_dataclass(node, bare, path)
    if origin is tuple:
        if not isinstance(node, yaml.SequenceNode):
            raise SpecError(f"must be a list, not {_shape(node)}", line=line_of(node), key=path)
        item_hint = get_args(bare)[0]
        return tuple(_read(item, item_hint, f"{path}[{index}]") for index, item in enumerate(node.value))
    if origin is Literal:
        return _read_choice(node, get_args(bare), path)
    if bare in _SCALARS:
        if not isinstance(node, yaml.ScalarNode):
            raise SpecError(f"must be {_SCALARS[bare][0]}, not {_shape(node)}", line=line_of(node), key=path)
        return _SCALARS[bare][1](node, path)
    if not isinstance(node, yaml.MappingNode):
        raise SpecError(f"must be a section with keys, not {_shape(node)}", line=line_of(node), key=path)
    of_values = get_args(bare)[1]
    if of_values is not Any:
        return {key: _read(value, of_values, _join(path, key)) for key, (_, value) in read_mapping(node, path).items()}
    return read_plain(node, path)


def _read_choice(node: yaml.Node, choices: tuple[Any, ...], path: str) -> Any:
    text = node.value if isinstance(node, yaml.ScalarNode) else None
    for choice in choices:
        if text == str(choice) and (isinstance(choice, str) or _is_plain(node)):
            return choice
    words = ", ".join(str(choice) for choice in choices)
    nearest = suggest(text, (str(choice) for choice in choices)) if text else ""
    said = _shape(node) if text is None else repr(text)
    raise SpecError(f"must be one of {words}, not {said}", line=line_of(node), key=path, suggestion=nearest)


def _read_text(node: yaml.ScalarNode, path: str) -> str:
    if _is_plain(node) and node.tag != "tag:yaml.org,2002:str":
        raise SpecError(f'must be text: put it in quotes, "{node.value}"', line=line_of(node), key=path)
    return str(node.value)


def _read_integer(node: yaml.ScalarNode, path: str) -> int:
    if not _is_plain(node) or not _INTEGER.fullmatch(node.value):
        raise SpecError(f"must be an integer, not {node.value!r}", line=line_of(node), key=path)
    return int(node.value)


def _read_number(node: yaml.ScalarNode, path: str) -> float:
    if _is_plain(node) and _NOT_FINITE.fullmatch(node.value):
        raise SpecError(f"must be a finite number, not {node.value!r}", line=line_of(node), key=path)
    if not _is_plain(node) or not _NUMBER.fullmatch(node.value):
        raise SpecError(f"must be a number, not {node.value!r}", line=line_of(node), key=path)
    value = float(node.value)
    if not math.isfinite(value):
        raise SpecError(f"must be a finite number, not {node.value!r}", line=line_of(node), key=path)
    return value


def _read_flag(node: yaml.ScalarNode, path: str) -> bool:
    if not _is_plain(node) or node.value not in ("true", "false"):
        raise SpecError(f"must be true or false, not {node.value!r}", line=line_of(node), key=path)
    return bool(node.value == "true")


_SCALARS: dict[Any, tuple[str, Any]] = {
    str: ("text", _read_text),
    int: ("an integer", _read_integer),
    float: ("a number", _read_number),
    bool: ("true or false", _read_flag),
}


def read_plain(node: yaml.Node, path: str) -> Any:
    """Free data for user code: mappings, lists, text, numbers, booleans and nothing."""
    if isinstance(node, yaml.MappingNode):
        return {key: read_plain(value, _join(path, key)) for key, (_, value) in read_mapping(node, path).items()}
    if isinstance(node, yaml.SequenceNode):
        return [read_plain(item, f"{path}[{index}]") for index, item in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)
    if not _is_plain(node):
        return str(node.value)
    if node.value in ("", "~", "null"):
        return None
    if node.value in ("true", "false"):
        return bool(node.value == "true")
    if _INTEGER.fullmatch(node.value):
        return int(node.value)
    if _NUMBER.fullmatch(node.value) or _NOT_FINITE.fullmatch(node.value):
        return _read_number(node, path)
    return str(node.value)


def _is_plain(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None


def _shape(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a section"
    return "a list" if isinstance(node, yaml.SequenceNode) else repr(node.value)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path and key else path or key
