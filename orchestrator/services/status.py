"""The one table from errors to gRPC status codes, and from an exception to what a caller is told."""

from __future__ import annotations

from dataclasses import dataclass

from grpc import StatusCode

from edge_agent.errors import ModelFormatError, SketchError
from orchestrator import errors
from orchestrator.metadata import NEXT_SEQ_KEY, RETRY_AFTER_KEY
from orchestrator.spec import SpecError

STATUS: dict[type[Exception], StatusCode] = {
    errors.OrchestratorError: StatusCode.INTERNAL,
    errors.InvalidRequestError: StatusCode.INVALID_ARGUMENT,
    errors.TooLargeError: StatusCode.INVALID_ARGUMENT,
    errors.UnauthenticatedError: StatusCode.UNAUTHENTICATED,
    errors.ForbiddenError: StatusCode.PERMISSION_DENIED,
    errors.NotFoundError: StatusCode.NOT_FOUND,
    errors.ConflictError: StatusCode.FAILED_PRECONDITION,
    errors.CursorGapError: StatusCode.FAILED_PRECONDITION,
    errors.FencedError: StatusCode.ABORTED,
    errors.RevisionGoneError: StatusCode.OUT_OF_RANGE,
    errors.ExhaustedError: StatusCode.RESOURCE_EXHAUSTED,
    errors.BusyError: StatusCode.RESOURCE_EXHAUSTED,
    errors.QuotaError: StatusCode.RESOURCE_EXHAUSTED,
    errors.StorageFullError: StatusCode.RESOURCE_EXHAUSTED,
    errors.UnavailableError: StatusCode.UNAVAILABLE,
    errors.CancelledByServerError: StatusCode.CANCELLED,
    errors.DeadlineError: StatusCode.DEADLINE_EXCEEDED,
    errors.CorruptBlobError: StatusCode.DATA_LOSS,
    errors.ServerError: StatusCode.INTERNAL,
    errors.StorageError: StatusCode.INTERNAL,
    errors.ConfigError: StatusCode.FAILED_PRECONDITION,
    SpecError: StatusCode.INVALID_ARGUMENT,
    SketchError: StatusCode.INVALID_ARGUMENT,
    ModelFormatError: StatusCode.INVALID_ARGUMENT,
}
"""Every type of orchestrator.errors by itself, and those of pure code that says what is wrong with a request."""

MESSAGE_LIMIT = 2000  # a status travels in a header, which has a size limit of its own


@dataclass(frozen=True)
class Refusal:
    """What a caller is told."""

    code: StatusCode
    message: str
    trailers: tuple[tuple[str, str], ...] = ()
    is_fault: bool = False
    """Of the server: worth a traceback in its log."""


def refusal(error: Exception) -> Refusal:
    """How to answer a call that ended in `error`; details of a fault of the server stay in its log."""
    code = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), None)
    if code is None or code is StatusCode.INTERNAL:
        return Refusal(StatusCode.INTERNAL, "the server failed at this call; its log has the reason", is_fault=True)
    trailers: tuple[tuple[str, str], ...] = ()
    if isinstance(error, errors.CursorGapError):
        trailers = ((NEXT_SEQ_KEY, str(error.next_seq)),)
    if isinstance(error, errors.ExhaustedError) and error.retry_after_s is not None:
        trailers = ((RETRY_AFTER_KEY, f"{error.retry_after_s:g}"),)
    return Refusal(code, str(error)[:MESSAGE_LIMIT], trailers)
