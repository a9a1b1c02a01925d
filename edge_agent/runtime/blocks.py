"""Block-sparse weights (docs/format.md, section 3) to dense ones; `csrc/blocks.cc` reads the same bytes.

Imports numpy lazily, for the reason that `tensors.py` gives.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edge_agent.errors import ModelFormatError
from edge_agent.runtime import graph as g

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]


def decode_blocks(tensor: g.Tensor, payload: bytes) -> Array:
    """int8 of the tensor's shape, zeros where no block is stored; the payload has the tensor's size.

    Raises `ModelFormatError` where the index does not name as many blocks as there are, or a block that hangs over
    the edge is not zero there.
    """
    import numpy as np

    data = np.frombuffer(payload, dtype=np.uint8)
    is_stored = _read_index(tensor, data[: tensor.index_bytes])
    values = _read_values(tensor, data[tensor.index_bytes :])

    outputs, last = tensor.shape[0], tensor.shape[-1]
    taps, across = math.prod(tensor.shape[1:-1]), -(-last // g.BLOCK_COLUMNS)
    blocked = np.zeros((*is_stored.shape, tensor.block_rows, g.BLOCK_COLUMNS), dtype=np.int8)
    blocked[is_stored] = values
    padded = blocked.reshape(tensor.rows_of_blocks, taps, across, tensor.block_rows, g.BLOCK_COLUMNS)
    padded = padded.transpose(0, 3, 1, 2, 4).reshape(-1, taps, across * g.BLOCK_COLUMNS)
    if padded[outputs:].any() or padded[..., last:].any():
        raise ModelFormatError(f"tensor {tensor.name!r}: a block is not zero beyond the edge")
    return np.ascontiguousarray(padded[:outputs, :, :last]).reshape(tensor.shape)


def _read_index(tensor: g.Tensor, data: Array) -> Array:
    """bool [rows of blocks, blocks of a row]."""
    import numpy as np

    bits = np.unpackbits(data.reshape(tensor.rows_of_blocks, -1), axis=1, bitorder="little")
    if bits[:, tensor.blocks_per_row :].any():
        raise ModelFormatError(f"tensor {tensor.name!r}: a bit between two rows of blocks is set")
    is_stored = bits[:, : tensor.blocks_per_row].astype(bool)
    if int(is_stored.sum()) != tensor.blocks:
        raise ModelFormatError(f"tensor {tensor.name!r}: the index names {is_stored.sum()} blocks, not {tensor.blocks}")
    return is_stored


def _read_values(tensor: g.Tensor, data: Array) -> Array:
    """int8 [blocks, block rows, columns]."""
    import numpy as np

    shape = (tensor.blocks, tensor.block_rows, g.BLOCK_COLUMNS)
    if tensor.bits == 0:
        return data.view(np.int8).reshape(shape)
    fields = np.unpackbits(data, bitorder="little").reshape(-1, tensor.bits)
    weights = np.array([1 << bit for bit in range(tensor.bits - 1)] + [-(1 << (tensor.bits - 1))], dtype=np.int8)
    values: Array = (fields.astype(np.int8) @ weights).astype(np.int8).reshape(shape)
    return values
