"""From YAML text to a job or a policy, and back.

A document is `apiVersion`, `kind`, `metadata.name` and `spec`; the reader does the rest from that kind's dataclass.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import yaml

from orchestrator.spec.errors import SpecError
from orchestrator.spec.job import CompressionJobSpec
from orchestrator.spec.keys import NAME, Key, Setting, settings_of
from orchestrator.spec.policy import RecompressionPolicySpec
from orchestrator.spec.reader import compose, line_of, read_dataclass, read_mapping, refuse_unknown, suggest

API_VERSION = "espalier/v1"
KINDS: dict[str, type] = {"CompressionJob": CompressionJobSpec, "RecompressionPolicy": RecompressionPolicySpec}

Spec = CompressionJobSpec | RecompressionPolicySpec
Section = TypeVar("Section")


@dataclass(frozen=True, kw_only=True)
class Metadata:
    name: Annotated[
        str,
        Key("of this document", pattern=NAME, pattern_words="1 to 63 letters, digits, dots, dashes or underscores"),
    ]


def parse_job(text: str) -> CompressionJobSpec:
    """The one CompressionJob in `text`.

    Raises:
        SpecError: with line, key and the nearest known key.
    """
    spec = parse(text, expected="CompressionJob")
    assert isinstance(spec, CompressionJobSpec)
    return spec


def parse_policy(text: str) -> RecompressionPolicySpec:
    """The one RecompressionPolicy in `text`.

    Raises:
        SpecError: with line, key and the nearest known key.
    """
    spec = parse(text, expected="RecompressionPolicy")
    assert isinstance(spec, RecompressionPolicySpec)
    return spec


def parse(text: str, *, expected: str | None = None) -> Spec:
    """The one document in `text`, of the `expected` kind where one is."""
    documents = parse_all(text, expected=expected)
    if len(documents) != 1:
        raise SpecError(f"holds {len(documents)} documents; give exactly one")
    return documents[0]


def parse_all(text: str, *, expected: str | None = None) -> list[Spec]:
    """Every document in `text`, in order."""
    return [_read_document(node, expected) for node in compose(text)]


def _read_document(node: yaml.Node, expected: str | None) -> Spec:
    entries = read_mapping(node, "")
    known = ["apiVersion", "kind", "metadata", "spec"]
    refuse_unknown(entries, known, "")
    for key in known:
        if key not in entries:
            raise SpecError(f"the document needs the key {key!r}", line=line_of(node))
    _expect_word(entries["apiVersion"][1], "apiVersion", [API_VERSION])
    kind = _expect_word(entries["kind"][1], "kind", [expected] if expected else list(KINDS))
    metadata: Metadata = read_dataclass(entries["metadata"][1], Metadata, "metadata")
    spec: Spec = read_dataclass(entries["spec"][1], KINDS[kind], "spec", {"name": metadata.name})
    return spec


def _expect_word(node: yaml.Node, key: str, known: list[str]) -> str:
    value = node.value if isinstance(node, yaml.ScalarNode) else ""
    if value not in known:
        words = " or ".join(f'"{word}"' for word in known)
        nearest = suggest(value, known) if value else ""
        raise SpecError(f"must be {words}, not {value!r}", line=line_of(node), key=key, suggestion=nearest)
    return str(value)


def dump(spec: Spec, *, complete: bool = False) -> str:
    """The document that reads back as `spec`; keys that have their default are left out unless it is to be complete."""
    kind = next(kind for kind, cls in KINDS.items() if isinstance(spec, cls))
    document = {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": spec.name},
        "spec": to_plain(spec, complete),
    }
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)


def to_plain(value: Any, complete: bool = False) -> Any:
    """Mappings, lists and scalars under their YAML keys."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            setting.key: to_plain(getattr(value, setting.attribute), complete)
            for setting in settings_of(type(value))
            if _is_written(setting, getattr(value, setting.attribute), complete)
        }
    if isinstance(value, Mapping):
        return {key: to_plain(item, complete) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item, complete) for item in value]
    return value


def from_plain(value: Any, cls: type[Section], path: str) -> Section:
    """The section that `to_plain` wrote out; `path` is what an error calls it.

    Raises:
        SpecError: a key is unknown, missing or out of range.
    """
    text = json.dumps(value, ensure_ascii=False)  # JSON is YAML
    section: Section = read_dataclass(compose(text)[0], cls, path)
    return section


def _is_written(setting: Setting, value: Any, complete: bool) -> bool:
    if setting.rule.hidden:
        return False
    return setting.required or value != setting.default or (complete and value is not None)


class _Dumper(yaml.SafeDumper):
    """Writes values out: the reader takes no aliases, and knows fewer plain words than YAML does."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    is_word = text[:1].isalpha() and all(c.isascii() and (c.isalnum() or c in "-_/") for c in text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_word else '"')


_Dumper.add_representer(str, _represent_text)
