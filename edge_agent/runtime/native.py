"""The compiled engine behind the `Engine` interface: a thin layer over the extension module `_engine`.

Whether it was built is decided once, at import. numpy is not needed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge_agent.errors import InputError, ModelFormatError
from edge_agent.runtime.graph import Graph

try:
    from edge_agent.runtime import _engine
except ImportError:  # installed without a compiler
    _engine = None  # type: ignore[assignment]

if TYPE_CHECKING:
    BytesLike = bytes | bytearray | memoryview


def paths() -> tuple[str, ...]:
    """Compiled paths that this CPU and operating system can run, best first; empty where nothing was built."""
    return tuple(_engine.paths()) if _engine is not None else ()


class NativeEngine:
    """`engine.Engine` on one compiled path; calls from several threads take turns."""

    def __init__(self, graph: Graph, data: bytes, payloads: Sequence[bytes], path: str) -> None:
        self.graph = graph
        try:
            self._model = _engine.Model(data, list(payloads), path)
        except ValueError as error:
            raise ModelFormatError(str(error)) from error
        self.path = self._model.path
        self.arena_bytes = self._model.arena_bytes
        self.weight_bytes = self._model.weight_bytes
        self._raw_bytes = graph.input_activation.elements

    def infer_raw(self, x: BytesLike) -> bytes:
        try:
            return self._model.infer(x, True)
        except ValueError as error:
            raise InputError(str(error)) from error

    def infer_float(self, x: BytesLike) -> bytes:
        try:
            return self._model.infer(x, False)
        except ValueError as error:
            raise InputError(str(error)) from error

    def infer_batch(self, x: BytesLike, *, raw: bool) -> bytes:
        try:
            return self._model.infer_batch(x, raw)
        except ValueError as error:
            raise InputError(str(error)) from error

    def trace(self, x: BytesLike, *, raw: bool) -> list[bytes]:
        try:
            return self._model.trace(x, raw)
        except ValueError as error:
            raise InputError(str(error)) from error

    def profile(self, x: BytesLike, *, raw: bool) -> list[int]:
        try:
            return self._model.profile(x, raw)
        except ValueError as error:
            raise InputError(str(error)) from error

    def dequantize(self, q: BytesLike) -> bytes:
        return self._model.dequantize(q)
