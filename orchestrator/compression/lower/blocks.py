"""Integer weights as the blocks that are not zero: docs/format.md, section 3, BLOCK_SPARSE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BLOCK_ROWS = (16, 8, 4)
COLUMNS = 4


@dataclass(frozen=True, eq=False)
class Blocks:
    """`payload` is the index and the `blocks` that are stored, each of `block_rows` outputs by four inputs."""

    block_rows: int
    blocks: int
    payload: bytes


def fewest_bytes(weight: npt.NDArray[np.int64], bits: int) -> Blocks:
    """The grain that takes the fewest bytes, of equals the largest; `weight` is [O, ..., I] in the device's layout."""
    return min((in_blocks(weight, rows, bits) for rows in BLOCK_ROWS), key=lambda blocks: len(blocks.payload))


def in_blocks(weight: npt.NDArray[np.int64], block_rows: int, bits: int) -> Blocks:
    outputs, inputs = weight.shape[0], weight.shape[-1]
    runs = weight.reshape(outputs, -1, inputs)
    padded = np.pad(runs, ((0, -outputs % block_rows), (0, 0), (0, -inputs % COLUMNS)))
    blocked = padded.reshape(-1, block_rows, padded.shape[1], padded.shape[2] // COLUMNS, COLUMNS)
    blocked = blocked.transpose(0, 2, 3, 1, 4).reshape(len(blocked), -1, block_rows, COLUMNS)
    is_stored = blocked.any(axis=(2, 3))  # [rows of blocks, blocks of a row]
    index = np.packbits(is_stored, axis=1, bitorder="little").tobytes()
    elements = blocked[is_stored].reshape(-1)
    planes = ((elements[:, np.newaxis] >> np.arange(bits)) & 1).astype(np.uint8)
    return Blocks(
        block_rows, int(is_stored.sum()), index + np.packbits(planes.reshape(-1), bitorder="little").tobytes()
    )
