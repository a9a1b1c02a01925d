"""Chooses what runs a model: a compiled path by name, the best that CPU and build allow, or the reference."""

from __future__ import annotations

import os

from edge_agent.errors import ConfigError
from edge_agent.runtime import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.runtime.interface import BytesLike as BytesLike
    from edge_agent.runtime.interface import Engine as Engine

PATH_VARIABLE = "ESPALIER_ENGINE_PATH"
MAX_THREADS = 64


def available_paths() -> tuple[str, ...]:
    """Names that `load_model` accepts here, best first; "reference" is always the last."""
    return (*native.paths(), "reference")


def load_model(data: bytes, blobs: Callable[[bytes], bytes], *, path: str | None = None, threads: int = 1) -> Engine:
    """Parse, validate and prepare a model.

    Args:
        data: the stored bytes of a `Model`.
        blobs: gives the payload for a SHA-256; digest and size of what it gives are checked.
        path: one of `available_paths()`; else what ESPALIER_ENGINE_PATH names, else the best.
        threads: that one call of a compiled path may use, 1 to 64. Large operators are shared, with the same bits.
            All but the caller spin for 0.1 ms after a call and then sleep. The reference has one.

    Raises:
        ModelFormatError: the model or a tensor's values are not valid.
        DigestMismatchError: `blobs` gave other bytes than were named.
        ConfigError: the path is unknown or not available on this machine, or the threads are.
    """
    chosen = choose_path(path)
    if not 1 <= threads <= MAX_THREADS:
        raise ConfigError(f"{threads} engine threads are not within 1 and {MAX_THREADS}")
    if chosen != "reference":
        return native.NativeEngine(data, blobs, chosen, threads)
    from edge_agent.runtime.model import parse_model
    from edge_agent.runtime.reference import ReferenceEngine
    from edge_agent.runtime.tensors import fetch_payloads

    graph = parse_model(data)
    return ReferenceEngine(graph, fetch_payloads(graph, blobs))


def choose_path(path: str | None = None) -> str:
    """The path that `load_model` would take; `ConfigError` for one that is not available."""
    wanted = path or os.environ.get(PATH_VARIABLE) or None
    available = available_paths()
    if wanted is None:
        return available[0]
    if wanted not in available:
        raise ConfigError(f"engine path {wanted!r} is not available here; choose one of {', '.join(available)}")
    return wanted


def __getattr__(name: str) -> object:
    if name not in ("BytesLike", "Engine"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from edge_agent.runtime import interface

    return getattr(interface, name)
