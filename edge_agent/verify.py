"""The one verifier of artefacts: nothing serves, shadows or is benchmarked that did not come out of `verify`.

Checks, in this order: stated sizes against the limits of this device, digests, format, memory, golden vectors on this
very device. Once identities exist, this is also where an assignment's signature is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.config import EngineConfig, LimitsConfig
from edge_agent.errors import ModelFormatError, ModelRefusedError
from edge_agent.life import ModelRef
from edge_agent.store import BlobStore

if TYPE_CHECKING:
    from edge_agent.runtime import BlobRef, Engine

MODEL_FILE_LIMIT_BYTES = 8 << 20
"""The graph itself; tensors are files of their own."""


@dataclass(frozen=True, kw_only=True)
class VerifiedModel:
    """A loaded model that this device may serve. Made by `ArtifactVerifier.verify` only."""

    ref: ModelRef
    engine: Engine

    @property
    def digest(self) -> str:
        return self.ref.digest

    @property
    def ram_bytes(self) -> int:
        return self.engine.arena_bytes + self.engine.weight_bytes


class ArtifactVerifier:
    def __init__(self, store: BlobStore, limits: LimitsConfig, engine: EngineConfig | None = None) -> None:
        self._store = store
        self._limits = limits
        self._engine = engine or EngineConfig()

    def check_stated_size(self, model: ModelRef) -> None:
        """Refuse by what the assignment states, before a byte is fetched.

        Raises:
            ModelRefusedError: the model file alone exceeds a limit.
        """
        if model.size_bytes > MODEL_FILE_LIMIT_BYTES:
            raise ModelRefusedError(f"the model file has {model.size_bytes} bytes, more than {MODEL_FILE_LIMIT_BYTES}")
        self._check("model", "model_bytes", model.size_bytes)

    def required_blobs(self, model: ModelRef) -> tuple[BlobRef, ...]:
        """What the model, which must be on disk, needs besides itself: tensors, then golden vectors.

        Raises:
            BlobMissingError: the model file is not there.
            ModelFormatError: it is not a valid model.
            ModelRefusedError: together the blobs exceed a limit.
        """
        from edge_agent.runtime import parse_model

        self.check_stated_size(model)
        graph = parse_model(self._store.read(model.digest, model.size_bytes))
        if graph.golden is None:
            raise ModelFormatError("the model has no golden vectors, so this device cannot tell whether it computes it")
        blobs = (*graph.tensor_blobs, graph.golden)
        for blob in blobs:
            self._check("one blob", "blob_bytes", blob.size_bytes)
        self._check("model", "model_bytes", model.size_bytes + sum(blob.size_bytes for blob in graph.tensor_blobs))
        self._check("weights", "ram_bytes", sum(tensor.payload_bytes for tensor in graph.tensors))
        return blobs

    def verify(self, model: ModelRef) -> VerifiedModel:
        """Load a model that is on disk and hold it to its golden vectors on this device.

        Raises:
            BlobMissingError: bytes are missing or were damaged on the disk.
            ModelError: it may not or cannot run here; the subclass says why.
        """
        from edge_agent.runtime import check_golden, load_model
        from edge_agent.runtime.native import trim_heap

        blobs = self.required_blobs(model)
        sizes = {blob.sha256: blob.size_bytes for blob in blobs}
        engine = load_model(
            self._store.read(model.digest, model.size_bytes),
            lambda sha256: self._store.read(sha256.hex(), sizes[sha256]),
            path=self._engine.path or None,
            threads=self._engine.threads,
        )
        verified = VerifiedModel(ref=model, engine=engine)
        self._check("loaded model", "ram_bytes", verified.ram_bytes)
        check_golden(engine, self.golden(model))
        trim_heap()
        return verified

    def golden(self, model: ModelRef) -> bytes:
        """The golden vectors of a model that is on disk; they are larger than many a model, so nobody keeps them."""
        blob = self.required_blobs(model)[-1]
        return self._store.read(blob.sha256.hex(), blob.size_bytes)

    def _check(self, what: str, limit: str, value: int) -> None:
        allowed = getattr(self._limits, limit)
        if allowed and value > allowed:
            raise ModelRefusedError(f"the {what} needs {value} bytes, more than limits.{limit} = {allowed}")
