"""What makes two stages the same, and how a stage is run at most once.

Pure but for the store that is passed in. A stage's key is the digest of everything its output depends on; the control
plane keeps outputs by key. So a job that died resumes at the first stage without an output, and two jobs that share a
stage share its output too. What a stage computes is left to its function.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

KEY_VERSION = 1  # raised when the meaning of a key changes


@dataclass(frozen=True)
class Blob:
    """Bytes that the control plane holds: 64 lower-case hex characters and a size."""

    digest: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class StageInputs:
    """Everything that a stage's output depends on.

    Attributes:
        name: what the stage does; two stages of one name and equal inputs are one stage.
        code: digest of our compression code and of the user's working directory.
        versions: of the libraries that compute.
        data: digest of the splits; empty where none is read.
        parameters: plain data from the job's spec.
        inputs: digests of earlier stages' outputs, by role.
    """

    name: str
    code: str
    versions: Mapping[str, str]
    data: str = ""
    seed: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)

    def key(self) -> str:
        """SHA-256 (hex) over the canonical JSON of the inputs."""
        return hashlib.sha256(
            canonical_json(
                {
                    "key_version": KEY_VERSION,
                    "name": self.name,
                    "code": self.code,
                    "versions": dict(self.versions),
                    "data": self.data,
                    "seed": self.seed,
                    "parameters": dict(self.parameters),
                    "inputs": dict(self.inputs),
                }
            )
        ).hexdigest()


@dataclass(frozen=True, kw_only=True)
class StageOutput:
    """What a stage left: blobs by role, and figures as plain data."""

    blobs: Mapping[str, Blob] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """A stage that has run, as the control plane keeps it."""

    key: str
    name: str
    output: StageOutput
    duration_s: float


class StageStore(Protocol):
    """Where outputs are kept by key: the control plane, or a dictionary in a test."""

    def get_stage(self, key: str) -> StageRecord | None: ...

    def put_stage(self, record: StageRecord) -> StageRecord:
        """Keep the record; answers the one that counts, which is an earlier one where two ran at once."""
        ...


def run_stage(store: StageStore, inputs: StageInputs, run: Callable[[], StageOutput]) -> StageOutput:
    """Return the output of this stage, running it only where nobody has yet.

    `run` puts its blobs before it returns, so that a record never names bytes that are not there.
    """
    key = inputs.key()
    found = store.get_stage(key)
    if found is not None:
        return found.output
    started = time.monotonic()
    output = run()
    record = StageRecord(key=key, name=inputs.name, output=output, duration_s=time.monotonic() - started)
    return store.put_stage(record).output


def canonical_json(value: Any) -> bytes:
    """Plain data as the one JSON text that equal data has: sorted keys, no spaces, no NaN.

    Raises:
        TypeError: something is not plain data; a key made from its `repr` would change from process to process.
        ValueError: a number is not finite.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True).encode()
