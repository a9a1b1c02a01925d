"""Messages of the operator API as plain data: what `--format json` prints, tables and the web page show.

Not protobuf's own JSON mapping, because people and scripts read this: names are the fields' own, digests are hex,
states are lower-case words, numbers are numbers, every field is present, and a latency sketch is its quantiles.
"""

from __future__ import annotations

import json
from collections.abc import MutableMapping, MutableSequence
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from edge_agent.errors import SketchError
from edge_agent.sketch import LatencySketch
from protos import fleet_pb2

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def to_plain(message: Message) -> dict[str, Any]:
    """Every field of `message`, nested ones too; an absent message is None."""
    if isinstance(message, fleet_pb2.Sketch):
        return _sketch(message)
    return dict(_entry(message, field) for field in message.DESCRIPTOR.fields)


def _entry(message: Message, field: FieldDescriptor) -> tuple[str, Any]:
    value = getattr(message, field.name)
    if field.name.endswith("_json"):
        return field.name.removesuffix("_json"), _document(value)
    if isinstance(value, MutableMapping):
        return field.name, dict(value)  # the one map there is goes from text to text
    if isinstance(value, MutableSequence):
        return field.name, [_scalar(field, item) for item in value]
    if field.message_type is not None and not message.HasField(field.name):
        return field.name, None
    return field.name, _scalar(field, value)


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None:
        return to_plain(value)
    if field.enum_type is not None:
        return enum_word(field.enum_type, value)
    return value.hex() if isinstance(value, bytes) else value


def enum_word(enum: EnumDescriptor, number: int) -> str:
    """`JOB_RUNNING` of `JobState` as "running"; the zero value, which says nothing, as ""."""
    value = enum.values_by_number.get(number)
    if value is None:
        return f"unknown ({number})"
    if number == 0:
        return ""
    prefix = enum.values_by_number[0].name.removesuffix("STATE_UNSPECIFIED")
    return str(value.name).removeprefix(prefix).lower()


def _document(text: str) -> Any:
    """A JSON document within a message, opened up where it is one."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def _sketch(message: fleet_pb2.Sketch) -> dict[str, Any]:
    try:
        sketch = LatencySketch.from_proto(message)
    except SketchError as error:
        return {"error": str(error)}
    quantiles = {name: sketch.quantile(q) for name, q in QUANTILES.items()}
    return {"count": sketch.count, "sum": sketch.sum, "min": sketch.min, "max": sketch.max, **quantiles}
