"""Payloads of weights in fewer bits or without their zero blocks, written apart from the product's own writers."""

from __future__ import annotations

import numpy as np


def pack(values: np.ndarray, bits: int) -> bytes:
    """Two's complement, least significant bit first, each outermost row padded to a byte."""
    rows = values.reshape(values.shape[0], -1).astype(np.int64) & ((1 << bits) - 1)
    fields = (rows[:, :, None] >> np.arange(bits)) & 1
    return np.packbits(fields.reshape(len(rows), -1).astype(np.uint8), axis=1, bitorder="little").tobytes()


def pack_blocks(values: np.ndarray, block_rows: int, bits: int = 0) -> tuple[bytes, int]:
    """The payload of a block-sparse tensor and how many blocks it holds."""
    outputs, last = values.shape[0], values.shape[-1]
    runs = values.reshape(outputs, -1, last)
    index, blocks = bytearray(), []
    for first in range(0, outputs, block_rows):
        stored = []
        for tap in range(runs.shape[1]):
            for column in range(0, last, 4):
                block = np.zeros((block_rows, 4), dtype=np.int8)
                part = runs[first : first + block_rows, tap, column : column + 4]
                block[: part.shape[0], : part.shape[1]] = part
                stored.append(bool(block.any()))
                blocks += [pack(block.reshape(1, -1), bits or 8)] if block.any() else []
        index += np.packbits(stored, bitorder="little").tobytes()
    return bytes(index) + b"".join(blocks), len(blocks)


def keep_blocks(values: np.ndarray, block_rows: int, density: float, rng: np.random.Generator) -> np.ndarray:
    """The same weights with all but a share of `density` of the blocks, chosen at random, set to 0."""
    outputs, last = values.shape[0], values.shape[-1]
    runs = values.reshape(outputs, -1, last)
    kept = rng.random((-(-outputs // block_rows), runs.shape[1], -(-last // 4))) < density
    mask = kept.repeat(block_rows, axis=0)[:outputs].repeat(4, axis=2)[:, :, :last]
    return np.where(mask, runs, 0).astype(np.int8).reshape(values.shape)
