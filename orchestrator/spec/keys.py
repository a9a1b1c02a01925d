"""How a dataclass field says what its YAML key means and which values it takes.

A field is written `epochs: Annotated[int, Key("passes over the train split", minimum=1)] = 3`. The reader, the writer
and the reference in docs/configuration.md are all driven by that, so nothing about a key is said twice.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

ENTRYPOINT = r"[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*"
NETWORK = rf"{ENTRYPOINT}|(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_./-]*\.onnx"
NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
DEVICE_CLASS = rf"\*|{NAME}"
DIGEST = r"sha256:[0-9a-f]{64}"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Which values a key takes. Bounds are inclusive but for `above` and `below`; items count the entries of a list."""

    meaning: str
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    pattern: str | None = None
    pattern_words: str = ""  # what the pattern asks for, for people
    min_items: int = 0
    max_items: int = 64
    hidden: bool = False  # not a key of its own: filled in from elsewhere in the document

    def violation(self, value: object) -> str:
        """What is wrong with a value of the right type, or nothing."""
        if isinstance(value, str) and self.pattern is not None and not re.fullmatch(self.pattern, value):
            return f"must be {self.pattern_words}, not {value!r}"
        if isinstance(value, tuple) and not self.min_items <= len(value) <= self.max_items:
            return f"must have {self.min_items} to {self.max_items} entries, not {len(value)}"
        if isinstance(value, int | float) and not isinstance(value, bool) and not self._holds(value):
            return f"must be {self.range_words()}, not {value}"
        return ""

    def _holds(self, value: float) -> bool:
        return (
            (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def range_words(self) -> str:
        parts = [
            f"at least {_words(self.minimum)}" if self.minimum is not None else "",
            f"above {_words(self.above)}" if self.above is not None else "",
            f"at most {_words(self.maximum)}" if self.maximum is not None else "",
            f"below {_words(self.below)}" if self.below is not None else "",
        ]
        return " and ".join(part for part in parts if part)


def _words(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:.15g}"


def Key(meaning: str, **bounds: Any) -> Rule:  # noqa: N802 - reads as a type inside Annotated
    """A `Rule` with its meaning first."""
    return Rule(meaning=meaning, **bounds)


@dataclass(frozen=True)
class Setting:
    """One YAML key of a dataclass."""

    key: str
    attribute: str
    hint: Any  # the type with its Annotated rules
    rule: Rule
    required: bool
    default: Any


def camel_case(attribute: str) -> str:
    """`latency_p95_ms` -> `latencyP95Ms`."""
    first, *rest = attribute.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def rule_of(hint: Any) -> Rule | None:
    if get_origin(hint) is Annotated:
        return next((extra for extra in hint.__metadata__ if isinstance(extra, Rule)), None)
    return None


def settings_of(cls: type) -> tuple[Setting, ...]:
    """The keys of a dataclass, in the order they are written in."""
    return tuple(_settings(cls))


def _settings(cls: type) -> Iterator[Setting]:
    hints = get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        rule = rule_of(hints[field.name])
        assert rule is not None, f"{cls.__name__}.{field.name} has no Key"
        default: Any = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        required = default is dataclasses.MISSING
        yield Setting(
            key=camel_case(field.name),
            attribute=field.name,
            hint=hints[field.name],
            rule=rule,
            required=required,
            default=None if required else default,
        )


def strip_hint(hint: Any) -> Any:
    """The bare type behind `Annotated` and `| None`."""
    while True:
        origin = get_origin(hint)
        if origin is Annotated:
            hint = get_args(hint)[0]
        elif origin in (Union, UnionType) and NoneType in get_args(hint):
            (hint,) = (argument for argument in get_args(hint) if argument is not NoneType)
        else:
            return hint


def type_words(hint: Any) -> str:
    """A type as docs/configuration.md names it."""
    bare = strip_hint(hint)
    if get_origin(bare) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(bare))
    if get_origin(bare) is tuple:
        return f"list of {type_words(get_args(bare)[0])}"
    if dataclasses.is_dataclass(bare):
        return "section"
    return {str: "text", int: "integer", float: "number", bool: "true or false"}.get(bare, "mapping")
