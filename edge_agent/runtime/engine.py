"""Chooses what runs a model: a compiled path by name, the best that CPU and build allow, or the reference."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from edge_agent.errors import ConfigError
from edge_agent.runtime import native
from edge_agent.runtime.graph import Graph
from edge_agent.runtime.model import parse_model
from edge_agent.runtime.tensors import fetch_payloads

PATH_VARIABLE = "ESPALIER_ENGINE_PATH"

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


def available_paths() -> tuple[str, ...]:
    """Names that `load_model` accepts here, best first; "reference" is always the last."""
    return (*native.paths(), "reference")


def load_model(data: bytes, blobs: Callable[[bytes], bytes], *, path: str | None = None) -> Engine:
    """Parse, validate and prepare a model.

    Args:
        data: the stored bytes of a `Model`.
        blobs: gives the payload for a SHA-256; digest and size of what it gives are checked.
        path: one of `available_paths()`; else what ESPALIER_ENGINE_PATH names, else the best.

    Raises:
        ModelFormatError: the model or a tensor's values are not valid.
        DigestMismatchError: `blobs` gave other bytes than were named.
        ConfigError: the path is unknown or not available on this machine.
    """
    chosen = choose_path(path)
    graph = parse_model(data)
    payloads = fetch_payloads(graph, blobs)
    if chosen != "reference":
        return native.NativeEngine(graph, data, payloads, chosen)
    from edge_agent.runtime.reference import ReferenceEngine

    return ReferenceEngine(graph, payloads)


def choose_path(path: str | None = None) -> str:
    """The path that `load_model` would take; `ConfigError` for one that is not available."""
    wanted = path or os.environ.get(PATH_VARIABLE) or None
    available = available_paths()
    if wanted is None:
        return available[0]
    if wanted not in available:
        raise ConfigError(f"engine path {wanted!r} is not available here; choose one of {', '.join(available)}")
    return wanted
