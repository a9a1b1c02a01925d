"""A network's weights as bytes that hold data and nothing else, in the safetensors layout.

u64 length (little endian), a JSON object {name: {dtype, shape, data_offsets}}, then the tensors' bytes back to back.
Reading executes nothing: pickle is never used. Which network the weights belong to is the reader's business; a mismatch
is an error.

Layout: https://huggingface.co/docs/safetensors (format section); written here to stay free of one more dependency.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.compression.errors import CheckpointError

MAX_HEADER_BYTES = 16 << 20

_DTYPES: dict[str, torch.dtype] = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64, "U8": torch.uint8}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def save_checkpoint(model: nn.Module) -> bytes:
    """Serialise parameters and buffers (batch norm statistics too); equal weights give equal bytes."""
    header: dict[str, Any] = {}
    payloads: list[bytes] = []
    offset = 0
    for name, tensor in sorted(model.state_dict().items()):
        if tensor.dtype not in _NAMES:
            raise CheckpointError(f"{name} is {tensor.dtype}; a checkpoint holds {', '.join(map(str, _NAMES))}")
        payload = tensor.detach().cpu().contiguous().numpy().tobytes()
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(payload)],
        }
        payloads.append(payload)
        offset += len(payload)
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start aligned
    return struct.pack("<Q", len(text)) + text + b"".join(payloads)


def load_checkpoint(model: nn.Module, data: bytes) -> None:
    """Put the weights into `model`, all or none.

    Raises:
        CheckpointError: the bytes are malformed, or names, shapes or dtypes are not those of `model`.
    """
    tensors = read_tensors(data)
    expected = model.state_dict()
    if tensors.keys() != expected.keys():
        missing, unknown = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
        raise CheckpointError(f"the checkpoint is of another network: missing {missing[:5]}, unknown {unknown[:5]}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape or tensor.dtype != expected[name].dtype:
            raise CheckpointError(
                f"{name} is {tensor.dtype} {list(tensor.shape)} in the checkpoint, "
                f"{expected[name].dtype} {list(expected[name].shape)} in the network"
            )
    model.load_state_dict(tensors)


def read_tensors(data: bytes) -> dict[str, Tensor]:
    """Parse a checkpoint; every size is checked against the bytes that are there before anything is allocated."""
    if len(data) < 8:
        raise CheckpointError(f"{len(data)} bytes are no checkpoint")
    (header_bytes,) = struct.unpack_from("<Q", data)
    if header_bytes > min(MAX_HEADER_BYTES, len(data) - 8):
        raise CheckpointError(f"the checkpoint says its header has {header_bytes} bytes, of {len(data)} in all")
    try:
        header = json.loads(data[8 : 8 + header_bytes])
    except (ValueError, RecursionError) as error:
        raise CheckpointError("the checkpoint's header is not JSON") from error
    if not isinstance(header, dict):
        raise CheckpointError("the checkpoint's header is not an object")
    header.pop("__metadata__", None)
    body = memoryview(data)[8 + header_bytes :]
    entries = {name: _Entry.parse(name, entry) for name, entry in header.items()}
    _require_contiguous(entries, len(body))
    return {name: entry.read(body) for name, entry in entries.items()}


class _Entry:
    """One tensor of the header."""

    def __init__(self, dtype: torch.dtype, shape: tuple[int, ...], begin: int, end: int) -> None:
        self.dtype, self.shape, self.begin, self.end = dtype, shape, begin, end

    @classmethod
    def parse(cls, name: str, entry: object) -> _Entry:
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise CheckpointError(f"{name}: an entry has dtype, shape and data_offsets")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            raise CheckpointError(f"{name}: unknown dtype {dtype!r}")
        if not _are_sizes(shape) or len(shape) > 8 or not _are_sizes(offsets) or len(offsets) != 2:
            raise CheckpointError(f"{name}: shape or offsets are not lists of sizes")
        begin, end = offsets
        if end - begin != math.prod(shape) * _DTYPES[dtype].itemsize:
            raise CheckpointError(f"{name}: {end - begin} bytes cannot hold {dtype} {shape}")
        return cls(_DTYPES[dtype], tuple(shape), begin, end)

    def read(self, body: memoryview) -> Tensor:
        numpy_dtype = torch.empty(0, dtype=self.dtype).numpy().dtype
        array = np.frombuffer(body[self.begin : self.end], numpy_dtype.newbyteorder("<"))
        return torch.from_numpy(array.astype(numpy_dtype).reshape(self.shape))


def _require_contiguous(entries: dict[str, _Entry], body_bytes: int) -> None:
    """Tensors follow each other without gap or overlap and fill the body, so no byte is hidden or read twice."""
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != position:
            raise CheckpointError(f"{name} starts at byte {entry.begin}, not at {position}")
        position = entry.end
    if position != body_bytes:
        raise CheckpointError(f"the tensors have {position} bytes, the checkpoint holds {body_bytes}")


def _are_sizes(values: object) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 for value in values
    )
