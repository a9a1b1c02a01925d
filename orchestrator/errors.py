"""Errors of the orchestrator, split by what a caller can do about them.

OrchestratorError
├── InvalidRequestError      fix the request
│   └── TooLargeError        send less at once
├── UnauthenticatedError     say who you are
├── ForbiddenError           this caller may not do this
├── NotFoundError            name something that exists
├── ConflictError            what is there does not allow it; look, then decide
│   └── CursorGapError       resume from where the server stands
├── FencedError              somebody newer has taken over; stop
├── RevisionGoneError        list again, then watch from the list's revision
├── ExhaustedError           wait and try again, or free something
│   ├── BusyError            the queue is full
│   ├── QuotaError           the caller's own allowance is used up
│   └── StorageFullError     the disk is full
├── UnavailableError         try again later
├── CancelledByServerError   the server ended the call; try again
├── DeadlineError            it took too long; try again if the call is idempotent
├── CorruptBlobError         stored bytes are not those that were named
├── ServerError              a fault of the server; its log says which
│   └── StorageError         the database refused
└── ConfigError              fix the configuration

The Python client raises the same types, made from status codes, so that code on either side of the wire reads alike.
"""

from __future__ import annotations

import copyreg
from typing import Any


class OrchestratorError(Exception):
    """Base of everything the orchestrator raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers' errors reach the driver pickled, and some take keywords that `args`, all that pickle knows, has not.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class InvalidRequestError(OrchestratorError):
    """A request or a value in it is malformed or out of range."""


class TooLargeError(InvalidRequestError):
    """More bytes or items than the limit allows."""


class UnauthenticatedError(OrchestratorError):
    """The call does not say who makes it."""


class ForbiddenError(OrchestratorError):
    """The caller is known and may not do this."""


class NotFoundError(OrchestratorError):
    """Nothing by this name is known."""


class ConflictError(OrchestratorError):
    """The state of what is addressed does not allow this."""


class CursorGapError(ConflictError):
    """A log was continued past its end; `next_seq` is where to resume."""

    def __init__(self, message: str, *, next_seq: int) -> None:
        super().__init__(message)
        self.next_seq = next_seq


class FencedError(OrchestratorError):
    """A newer attempt or session has taken over."""


class RevisionGoneError(OrchestratorError):
    """The events after this revision have been deleted or never happened here."""


class ExhaustedError(OrchestratorError):
    """Something is used up for now."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BusyError(ExhaustedError):
    """The server has more to do than it can queue."""


class QuotaError(ExhaustedError):
    """The caller's own allowance is used up."""


class StorageFullError(ExhaustedError):
    """No space is left for the database or the blobs."""


class UnavailableError(OrchestratorError):
    """The server cannot be reached or is stopping."""


class CancelledByServerError(UnavailableError):
    """The server ended the call before it was handled."""


class DeadlineError(OrchestratorError):
    """No answer within the deadline; whether it took effect is unknown."""


class CorruptBlobError(OrchestratorError):
    """Bytes do not have the digest or the size they were named by."""


class ServerError(OrchestratorError):
    """The server failed; its log has the reason."""


class StorageError(ServerError):
    """The database could not do what it was asked."""


class ConfigError(OrchestratorError):
    """A configuration value is unknown, out of range or contradicts another."""
