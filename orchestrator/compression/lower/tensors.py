"""Constants of a model: what is small stands in the model itself, the rest in blobs named by SHA-256."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.compression.lower.blocks import fewest_bytes
from protos import model_pb2 as pb

INLINE_BYTES = 4096

_DTYPES = {"int8": pb.INT8, "int32": pb.INT32, "uint32": pb.UINT32, "float32": pb.FLOAT32}


class TensorTable:
    """Collects tensors in order of use; `blobs` has the payloads that are kept elsewhere."""

    def __init__(self) -> None:
        self.tensors: list[pb.Tensor] = []
        self.blobs: dict[bytes, bytes] = {}

    def add(self, name: str, array: npt.NDArray[Any]) -> int:
        """Add a dense tensor of a dtype that the format has; returns its index."""
        payload = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
        dtype = _DTYPES[array.dtype.name]
        return self._append(pb.Tensor(name=name, dtype=dtype, shape=array.shape, encoding=pb.DENSE), payload)

    def add_weight(self, name: str, weight: npt.NDArray[np.int64], bits: int, *, may_be_sparse: bool = True) -> int:
        """Add integer weights of `bits` bits, packed below 8; in blocks where that takes fewer bytes."""
        payload = weight.astype(np.int8).tobytes() if bits == 8 else pack(weight, bits)
        message = pb.Tensor(name=name, dtype=pb.INT8, shape=weight.shape, bits=0 if bits == 8 else bits)
        message.encoding = pb.DENSE if bits == 8 else pb.PACKED
        if may_be_sparse:
            sparse = fewest_bytes(weight, bits)
            if len(sparse.payload) < len(payload):
                payload = sparse.payload
                message.encoding = pb.BLOCK_SPARSE
                message.block_rows, message.blocks = sparse.block_rows, sparse.blocks
        return self._append(message, payload)

    def _append(self, message: pb.Tensor, payload: bytes) -> int:
        if len(payload) <= INLINE_BYTES:
            message.inline = payload
        else:
            digest = hashlib.sha256(payload).digest()
            self.blobs[digest] = payload
            message.blob.sha256, message.blob.size_bytes = digest, len(payload)
        self.tensors.append(message)
        return len(self.tensors) - 1


def pack(weight: npt.NDArray[np.int64], bits: int) -> bytes:
    """Two's complement, least significant bit first, each outermost row padded to a byte."""
    rows = weight.reshape(len(weight), -1)
    planes = (rows[..., np.newaxis] >> np.arange(bits)) & 1  # [O, K, bits]
    return np.packbits(planes.astype(np.uint8).reshape(len(rows), -1), axis=1, bitorder="little").tobytes()
