"""What every engine offers, compiled or reference."""

from __future__ import annotations

from typing import Protocol

from edge_agent.runtime.graph import Graph

BytesLike = bytes | bytearray | memoryview


class Engine(Protocol):
    """A loaded model. Calls from several threads are allowed; inputs and outputs are NHWC without padding."""

    @property
    def path(self) -> str:
        """Name of the instruction set or engine that runs, one of `available_paths()`."""

    @property
    def graph(self) -> Graph: ...

    @property
    def arena_bytes(self) -> int:
        """Memory for activations and scratch while it runs."""

    @property
    def weight_bytes(self) -> int:
        """Memory for constants as this path keeps them."""

    def infer_raw(self, x: BytesLike) -> bytes:
        """One uint8 sample of the input's shape to its int8 output; `InputError` where the size is wrong."""

    def infer_float(self, x: BytesLike) -> bytes:
        """One normalised float32 sample, little endian, to its int8 output; `InputError` for NaN."""

    def infer_batch(self, x: BytesLike, *, raw: bool) -> bytes:
        """Any number of samples back to back to their outputs back to back."""

    def trace(self, x: BytesLike, *, raw: bool) -> list[bytes]:
        """The int8 output of every operator in stored order, nothing fused."""

    def profile(self, x: BytesLike, *, raw: bool) -> list[int]:
        """Nanoseconds for preparing one sample and then each operator in stored order; 0 where one does nothing."""

    def dequantize(self, q: BytesLike) -> bytes:
        """int8 outputs to float32, little endian: (q - zero_point) * scale."""
