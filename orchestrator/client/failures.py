"""Status codes to the errors that the server raised, and which of them are worth another try."""

from __future__ import annotations

from typing import Any

import grpc

from orchestrator import errors
from orchestrator.metadata import NEXT_SEQ_KEY, RETRY_AFTER_KEY

_ERRORS: dict[grpc.StatusCode, type[errors.OrchestratorError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequestError,
    grpc.StatusCode.UNAUTHENTICATED: errors.UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: errors.ForbiddenError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.ConflictError,
    grpc.StatusCode.ABORTED: errors.FencedError,
    grpc.StatusCode.OUT_OF_RANGE: errors.RevisionGoneError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ExhaustedError,
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
    grpc.StatusCode.CANCELLED: errors.CancelledByServerError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineError,
    grpc.StatusCode.DATA_LOSS: errors.CorruptBlobError,
}

RETRYABLE = (errors.UnavailableError, errors.ExhaustedError, errors.DeadlineError)
"""Every call of the SDK may be repeated: those that create something carry an id by which a repeat is known."""


def error_of(failure: grpc.RpcError) -> errors.OrchestratorError:
    """The error that a failed call, blocking or not, stands for."""
    code, message = failure.code(), failure.details() or failure.code().name
    metadata: Any = failure.trailing_metadata() or ()  # of other types in blocking calls than in asynchronous ones
    trailers = {str(key): str(value) for key, value in metadata}
    if code is grpc.StatusCode.FAILED_PRECONDITION and NEXT_SEQ_KEY in trailers:
        return errors.CursorGapError(message, next_seq=int(trailers[NEXT_SEQ_KEY]))
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return errors.ExhaustedError(message, retry_after_s=_seconds(trailers.get(RETRY_AFTER_KEY)))
    return _ERRORS.get(code, errors.ServerError)(message)


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else min(max(float(text), 0.0), 60.0)
    except ValueError:
        return None
