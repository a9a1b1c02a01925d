"""A compressed model with everything it refers to, in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from edge_agent.runtime import load_model
from edge_agent.runtime.interface import Engine
from edge_agent.runtime.model import parse_model
from orchestrator.compression.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Artifact:
    """The stored bytes of a model and its blobs by SHA-256 (tensor payloads and golden vectors).

    `recipe` is what made it, with all that was chosen on the way.
    """

    model: bytes
    blobs: dict[bytes, bytes] = field(repr=False)
    recipe: Recipe | None = None

    @property
    def digest(self) -> bytes:
        """SHA-256 of the model's bytes: its name everywhere."""
        return hashlib.sha256(self.model).digest()

    @property
    def size_bytes(self) -> int:
        """What a device stores and downloads: model and tensor blobs, golden vectors left out."""
        return len(self.model) + sum(ref.size_bytes for ref in parse_model(self.model).tensor_blobs)

    @property
    def golden(self) -> bytes:
        """The serialised golden vectors; empty while there are none."""
        ref = parse_model(self.model).golden
        return b"" if ref is None else self.blobs[ref.sha256]

    def load(self, *, path: str | None = None) -> Engine:
        """The engine that a device would run; `path` forces one of its implementations."""
        return load_model(self.model, self.blobs.__getitem__, path=path)
