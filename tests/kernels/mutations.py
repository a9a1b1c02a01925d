"""Damages valid models in two ways: bytes that no longer say what they said, and fields that say something else."""

from __future__ import annotations

import numpy as np
from google.protobuf.message import Message

from protos import model_pb2 as pb

INTERESTING = (
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    16,
    30,
    31,
    127,
    128,
    255,
    256,
    4096,
    65535,
    65536,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
)
INTERESTING_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-30, 1e30, 1e-45, 2.0**-40, 2.0**8, float("inf"), float("nan"), 1 / 256)


def mutate_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three edits: flip a bit, set, insert, delete, cut off, repeat a slice, lengthen a varint."""
    edited = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        if not edited:
            break
        at = int(rng.integers(len(edited)))
        match int(rng.integers(7)):
            case 0:
                edited[at] ^= 1 << int(rng.integers(8))
            case 1:
                edited[at] = int(rng.integers(256))
            case 2:
                edited.insert(at, int(rng.integers(256)))
            case 3:
                del edited[at]
            case 4:
                del edited[at:]
            case 5:
                edited[at:at] = edited[at : at + int(rng.integers(1, 40))]
            case 6:
                edited[at : at + 1] = bytes([edited[at] | 0x80, 0])
    return bytes(edited)


def mutate_fields(data: bytes, rng: np.random.Generator) -> bytes:
    """Change one to three fields anywhere in the message and write it canonically again."""
    model = pb.Model.FromString(data)
    for _ in range(int(rng.integers(1, 4))):
        _mutate_message(model, rng)
    return model.SerializeToString(deterministic=True)


def _mutate_message(message: Message, rng: np.random.Generator) -> None:
    fields = list(message.DESCRIPTOR.fields)
    if not fields:  # flatten
        return
    field = fields[int(rng.integers(len(fields)))]
    value = getattr(message, field.name)
    if field.is_repeated:
        _mutate_repeated(value, field, rng)
    elif field.type == field.TYPE_MESSAGE:
        if message.HasField(field.name) and rng.random() < 0.85:
            _mutate_message(value, rng)
        elif message.HasField(field.name):
            message.ClearField(field.name)
        else:
            value.SetInParent()
    elif field.has_presence and rng.random() < 0.2:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _other_value(field, value, rng))


def _mutate_repeated(values, field, rng: np.random.Generator) -> None:
    index = int(rng.integers(len(values))) if values else 0
    if field.type == field.TYPE_MESSAGE:
        if not values or rng.random() < 0.05:
            values.add()
        elif rng.random() < 0.9:
            _mutate_message(values[index], rng)
        else:
            del values[index]
    elif not values or rng.random() < 0.15:
        values.append(_other_value(field, None, rng))
    elif rng.random() < 0.15:
        del values[index]
    else:
        values[index] = _other_value(field, values[index], rng)


def _other_value(field, value, rng: np.random.Generator):
    match field.type:
        case field.TYPE_STRING:
            return str(rng.choice(["", "x", "a/b", "é", "x" * 129, "y" * 300, "op0", ".hidden"]))
        case field.TYPE_BYTES:
            return mutate_bytes(value or b"0", rng)
        case field.TYPE_FLOAT:
            return float(rng.choice(INTERESTING_FLOATS))
        case field.TYPE_ENUM:
            return int(rng.integers(0, 8))
    if value is not None and rng.random() < 0.5:
        candidate = value + int(rng.choice([-1, 1, 2]))
    else:
        candidate = int(rng.choice(INTERESTING))
    if field.type == field.TYPE_SINT32:
        return max(-(2**31), min(2**31 - 1, candidate if rng.random() < 0.5 else -candidate))
    return max(0, min(2**32 - 1, candidate))
