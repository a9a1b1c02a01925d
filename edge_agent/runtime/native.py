"""The compiled engine behind the `Engine` interface: a thin layer over the extension module `_engine`.

Whether it was built is decided once, at import. numpy is not needed here.
"""

from __future__ import annotations

from functools import cached_property

from edge_agent.errors import ConfigError, InputError, ModelFormatError
from edge_agent.runtime.digest import BlobReader

try:
    from edge_agent.runtime import _engine
except ImportError:  # installed without a compiler
    _engine = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.runtime.graph import Graph

    BytesLike = bytes | bytearray | memoryview


def paths() -> tuple[str, ...]:
    """Compiled paths that this CPU and operating system can run, best first; empty where nothing was built."""
    return tuple(_engine.paths()) if _engine is not None else ()


def trim_heap() -> None:
    """Give the operating system back what was freed; loading a model frees about as much as the model keeps."""
    if _engine is not None:
        _engine.trim_heap()


class NativeEngine:
    """`engine.Engine` on one compiled path; calls from several threads take turns."""

    def __init__(self, data: bytes, blobs: Callable[[bytes], bytes], path: str, threads: int) -> None:
        self._data = bytes(data)
        reader = BlobReader(blobs)

        def fetch(index: int, sha256: bytes, size_bytes: int) -> bytes:
            return reader.read(sha256, size_bytes, what=lambda: f"tensor {self.graph.tensors[index].name!r}")

        try:
            self._model = _engine.Model(self._data, fetch, path, threads)
        except ValueError as error:
            self.graph  # noqa: B018 - the reader in Python says more about what it refuses
            raise ModelFormatError(str(error)) from error
        except RuntimeError as error:
            raise ConfigError(f"cannot run on {threads} threads: {error}") from error
        self.path = self._model.path
        self.arena_bytes = self._model.arena_bytes
        self.weight_bytes = self._model.weight_bytes

    @cached_property
    def graph(self) -> Graph:
        # The engine has a reader of its own, which refuses the same bytes; this one brings protobuf to those who ask.
        from edge_agent.runtime.model import parse_model

        return parse_model(self._data)

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
