"""Records to JSON and back, by their annotations; the one form in which the database and the event log keep them.

Unknown keys are dropped and missing ones take their default, so that a newer or an older server reads the same rows.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import types
import typing
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from edge_agent.errors import SketchError
from edge_agent.sketch import LatencySketch
from orchestrator.errors import StorageError
from protos import fleet_pb2

R = TypeVar("R")


def encode(record: Any) -> str:
    """One line of JSON with keys in the order of the dataclass."""
    return json.dumps(to_plain(record), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def decode(record_type: type[R], text: str) -> R:
    """Read what `encode` wrote.

    Raises:
        StorageError: the text is not such a record.
    """
    try:
        plain = json.loads(text)
        return typing.cast(R, _reader(typing.cast(Any, record_type))(plain))
    except (ValueError, TypeError, KeyError, SketchError) as error:
        raise StorageError(f"a stored {record_type.__name__} cannot be read: {error}") from error


def to_plain(value: Any) -> Any:
    """Dicts, lists and scalars; a sketch becomes the base64 of its wire form."""
    if isinstance(value, LatencySketch):
        return base64.b64encode(value.to_proto().SerializeToString(deterministic=True)).decode()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"a record cannot hold a {type(value).__name__}")


@functools.cache
def _reader(annotation: Any) -> Callable[[Any], Any]:
    """A function that turns plain data into a value of the annotated type."""
    if annotation in (str, bool, int, float):
        return _scalar_reader(annotation)
    if annotation is LatencySketch:
        return lambda plain: LatencySketch.from_proto(fleet_pb2.Sketch.FromString(base64.b64decode(plain)))
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return annotation
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return _dataclass_reader(annotation)
    if typing.get_origin(annotation) is tuple:
        return _tuple_reader(*typing.get_args(annotation))
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return _optional_reader(annotation)
    raise TypeError(f"no way is known to read a {annotation} from JSON")


def _scalar_reader(scalar: type) -> Callable[[Any], Any]:
    accepted = (int, float) if scalar is float else (scalar,)

    def read(plain: Any) -> Any:
        if not isinstance(plain, accepted) or (isinstance(plain, bool) and scalar is not bool):
            raise TypeError(f"expected {scalar.__name__}, found {type(plain).__name__}")
        return scalar(plain)

    return read


def _dataclass_reader(record_type: type) -> Callable[[Any], Any]:
    readers: dict[str, Callable[[Any], Any]] = {}

    def read(plain: Any) -> Any:
        if not isinstance(plain, dict):
            raise TypeError(f"expected the fields of a {record_type.__name__}, found {type(plain).__name__}")
        if not readers:  # resolved on first use: a record may name one that is defined after it
            hints = typing.get_type_hints(record_type)
            readers.update({name: _reader(hint) for name, hint in hints.items()})
        return record_type(**{name: reader(plain[name]) for name, reader in readers.items() if name in plain})

    return read


def _tuple_reader(item: Any, ellipsis: Any) -> Callable[[Any], Any]:
    if ellipsis is not Ellipsis:
        raise TypeError("records hold tuples of one type and any length")
    read_item = _reader(item)
    return lambda plain: tuple(read_item(entry) for entry in plain)


def _optional_reader(union: Any) -> Callable[[Any], Any]:
    (inner,) = (member for member in typing.get_args(union) if member is not type(None))
    read_inner = _reader(inner)
    return lambda plain: None if plain is None else read_inner(plain)
