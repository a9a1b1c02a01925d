"""Errors of the edge, split by what a caller can do about them.

EspalierError
├── ConfigError            fix the configuration
├── ModelError             this model cannot be used; another may
│   ├── ModelFormatError   the bytes are not a valid model
│   ├── DigestMismatchError  the bytes are not those that were named
│   ├── GoldenMismatchError  this device computes something else than the reference
│   ├── BlobMissingError   some of its bytes are not on this disk; download them
│   └── ModelRefusedError  it exceeds what this device may give to a model
├── InputError             fix the request
│   └── NotServedError     ask for the model that this device serves
├── NotReadyError          no model serves yet; ask again later
├── SketchError            a sketch from outside is malformed
├── DiskFullError          free some space
├── StateDamagedError      what this agent wrote to its disk cannot be read back
│   ├── JournalError
│   └── SpoolError
├── RefusedError           the control plane will not take this, now or later
└── TransientError         try again later
"""

from __future__ import annotations


class EspalierError(Exception):
    """Base of everything the edge raises on purpose."""


class ConfigError(EspalierError):
    """A configuration value is unknown, out of range or contradicts another."""


class ModelError(EspalierError):
    """A model cannot be used on this device."""


class ModelFormatError(ModelError):
    """The bytes are not a valid model; nothing was allocated for them."""


class DigestMismatchError(ModelError):
    """Bytes do not have the digest or the size they were named by."""

    def __init__(self, what: str, *, expected: str, actual: str) -> None:
        super().__init__(f"{what}: expected {expected}, found {actual}")
        self.what = what
        self.expected = expected
        self.actual = actual


class GoldenMismatchError(ModelError):
    """This device's output differs from the golden vectors.

    `operator_name` is the first operator whose output differs in an unfused trace, or None where only the serving path
    differs.
    """

    def __init__(self, case: int, operator_name: str | None) -> None:
        where = f"first at operator {operator_name!r}" if operator_name else "on the serving path only"
        super().__init__(f"golden case {case} differs, {where}")
        self.case = case
        self.operator_name = operator_name


class BlobMissingError(ModelError):
    """Bytes that the model needs are not on this disk, or were damaged there and have been removed."""


class ModelRefusedError(ModelError):
    """The model exceeds a limit of this device; the same bytes will be refused again."""


class InputError(EspalierError):
    """A request's input has the wrong size or type, or holds NaN."""


class NotServedError(InputError):
    """A request names a model or a version that this device does not serve."""


class NotReadyError(EspalierError):
    """No model serves on this device yet."""


class DiskFullError(EspalierError):
    """The disk, or the share of it that the agent may use, has no room."""


class StateDamagedError(EspalierError):
    """Something the agent wrote earlier cannot be read back."""


class JournalError(StateDamagedError):
    """The agent's life cannot be read back."""


class SpoolError(StateDamagedError):
    """A spool cannot be read back."""


class RefusedError(EspalierError):
    """The control plane refused a call for good; `code` is the name of its gRPC status.

    `next_seq` is where it wants a log to be taken up, if that is what it said.
    """

    def __init__(self, message: str, *, code: str, next_seq: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.next_seq = next_seq


class SketchError(EspalierError):
    """A latency sketch from the wire or the disk is malformed."""


class TransientError(EspalierError):
    """The control plane cannot be reached or asks to wait."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
