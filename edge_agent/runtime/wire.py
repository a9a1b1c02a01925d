"""Holds bytes to the canonical protobuf encoding of docs/format.md, section 1, for any message type.

Works from the message's descriptor, so it knows no operator. It leaves building objects to protobuf, and meaning to
`model.py`; after `check_canonical`, protobuf can neither fail nor build more objects than the limits allow.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple, NoReturn

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from edge_agent.errors import ModelFormatError
from edge_agent.runtime import limits

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_WIRE_TYPE = {
    FieldDescriptor.TYPE_UINT32: _VARINT,
    FieldDescriptor.TYPE_UINT64: _VARINT,
    FieldDescriptor.TYPE_INT64: _VARINT,
    FieldDescriptor.TYPE_SINT32: _VARINT,
    FieldDescriptor.TYPE_BOOL: _VARINT,
    FieldDescriptor.TYPE_ENUM: _VARINT,
    FieldDescriptor.TYPE_DOUBLE: _FIXED64,
    FieldDescriptor.TYPE_FLOAT: _FIXED32,
    FieldDescriptor.TYPE_STRING: _LENGTH,
    FieldDescriptor.TYPE_BYTES: _LENGTH,
    FieldDescriptor.TYPE_MESSAGE: _LENGTH,
}
_VARINT_MAX = {
    FieldDescriptor.TYPE_UINT32: 2**32 - 1,
    FieldDescriptor.TYPE_SINT32: 2**32 - 1,
    FieldDescriptor.TYPE_BOOL: 1,
    FieldDescriptor.TYPE_ENUM: 2**31 - 1,  # larger ones protobuf's table of names would cut to 32 bits
}


class _Field(NamedTuple):
    """What the check needs to know of one field."""

    descriptor: FieldDescriptor
    wire_type: int  # of one element
    is_repeated: bool
    is_packed: bool
    may_be_default: bool
    oneof: str | None
    most_elements: int

    @property
    def name(self) -> str:
        return str(self.descriptor.name)


def check_canonical(data: bytes, message: Descriptor) -> None:
    """Raise `ModelFormatError` unless `data` is the canonical encoding of some value of the message type."""
    _check_message(data, 0, len(data), message)


@cache
def _fields(message: Descriptor) -> dict[int, _Field]:
    return {number: _describe(field) for number, field in message.fields_by_number.items()}


def _describe(field: FieldDescriptor) -> _Field:
    # `label` is deprecated in the releases that have `is_repeated`, and the only way in those that have not.
    has_property = hasattr(field, "is_repeated")
    is_repeated = field.is_repeated if has_property else field.label == FieldDescriptor.LABEL_REPEATED
    wire_type = _WIRE_TYPE[field.type]
    return _Field(
        descriptor=field,
        wire_type=wire_type,
        is_repeated=is_repeated,
        is_packed=is_repeated and wire_type != _LENGTH,
        may_be_default=is_repeated or field.has_presence,
        oneof=field.containing_oneof.name if field.containing_oneof is not None else None,
        most_elements=limits.REPEATED.get(field.full_name, limits.REPEATED_ELSEWHERE),
    )


def _fail(position: int, message: Descriptor, what: str) -> NoReturn:
    raise ModelFormatError(f"{message.name} at byte {position}: {what}")


def _check_message(data: bytes, position: int, end: int, message: Descriptor) -> None:
    fields = _fields(message)
    last_number, elements = 0, 0
    oneofs_seen: set[str] = set()
    while position < end:
        start = position
        tag, position = _read_varint(data, position, end, message)
        number = tag >> 3
        field = fields.get(number)
        if field is None:
            _fail(start, message, f"field {number} is unknown")
        may_follow_itself = field.is_repeated and not field.is_packed
        if number < last_number or (number == last_number and not may_follow_itself):
            _fail(start, message, f"field {field.name} is out of order or stands twice")
        elements = elements + 1 if number == last_number else 1
        last_number = number
        if elements > field.most_elements:
            _fail(start, message, f"more {field.name} than the format allows")
        if field.oneof is not None:
            if field.oneof in oneofs_seen:
                _fail(start, message, f"two members of {field.oneof}")
            oneofs_seen.add(field.oneof)
        if tag & 7 != (_LENGTH if field.is_packed else field.wire_type):
            _fail(start, message, f"field {field.name} has wire type {tag & 7}")
        position = _check_field(data, position, end, field, message)


def _check_field(data: bytes, position: int, end: int, field: _Field, message: Descriptor) -> int:
    """Check one field's value and return the position after it."""
    if not field.is_packed and field.wire_type != _LENGTH:
        return _check_scalar(data, position, end, field, message)
    size, position = _read_varint(data, position, end, message)
    if size > end - position:
        _fail(position, message, f"field {field.name} ends beyond its message")
    stop = position + size
    if size == 0 and (field.is_packed or not field.may_be_default):
        _fail(position, message, f"field {field.name} is empty and must be left out")
    if field.is_packed:
        _check_packed(data, position, stop, field, message)
    elif field.descriptor.type == FieldDescriptor.TYPE_MESSAGE:
        _check_message(data, position, stop, field.descriptor.message_type)
    elif field.descriptor.type == FieldDescriptor.TYPE_STRING:
        _check_utf8(data[position:stop], position, field)
    return stop


def _check_packed(data: bytes, position: int, stop: int, field: _Field, message: Descriptor) -> None:
    elements = 0
    while position < stop:
        elements += 1
        if elements > field.most_elements:
            _fail(position, message, f"more {field.name} than the format allows")
        position = _check_scalar(data, position, stop, field, message)


def _check_scalar(data: bytes, position: int, end: int, field: _Field, message: Descriptor) -> int:
    if field.wire_type == _VARINT:
        value, after = _read_varint(data, position, end, message)
        kind = field.descriptor.type
        if value > _VARINT_MAX.get(kind, 2**64 - 1):
            _fail(position, message, f"field {field.name} does not fit its type")
        if kind == FieldDescriptor.TYPE_ENUM and value not in field.descriptor.enum_type.values_by_number:
            _fail(position, message, f"field {field.name} has the unknown value {value}")
        is_default = value == 0
    else:
        after = position + (8 if field.wire_type == _FIXED64 else 4)
        if after > end:
            _fail(position, message, f"field {field.name} is cut off")
        is_default = not any(data[position:after])
    if is_default and not field.may_be_default:
        _fail(position, message, f"field {field.name} is its default and must be left out")
    return after


def _check_utf8(text: bytes, position: int, field: _Field) -> None:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"{field.name} at byte {position}: not UTF-8") from error


def _read_varint(data: bytes, position: int, end: int, message: Descriptor) -> tuple[int, int]:
    value, shift, start = 0, 0, position
    while True:
        if position >= end:
            _fail(start, message, "a varint is cut off")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            _fail(start, message, "a varint has more than 10 bytes")
    if value >= 2**64 or (byte == 0 and position - start > 1):
        _fail(start, message, "a varint is too large or not in its shortest form")
    return value, position
