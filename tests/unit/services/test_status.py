"""Every error has a status code of its own choosing, and faults of the server say nothing about its insides."""

from __future__ import annotations

import inspect

import grpc
import pytest

from orchestrator import errors
from orchestrator.metadata import NEXT_SEQ_KEY, RETRY_AFTER_KEY
from orchestrator.services.status import MESSAGE_LIMIT, STATUS, refusal

TYPES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.OrchestratorError) and kind.__module__ == errors.__name__
]


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_every_error_type_is_in_the_table(kind: type[errors.OrchestratorError]) -> None:
    assert kind in STATUS


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_every_error_type_is_in_the_drawing(kind: type[errors.OrchestratorError]) -> None:
    assert kind.__name__ in (errors.__doc__ or "")


def test_a_gap_says_where_to_resume() -> None:
    told = refusal(errors.CursorGapError("resume", next_seq=7))
    assert told.code is grpc.StatusCode.FAILED_PRECONDITION
    assert told.trailers == ((NEXT_SEQ_KEY, "7"),)


def test_exhaustion_says_when_to_come_back() -> None:
    assert refusal(errors.BusyError("later", retry_after_s=1.5)).trailers == ((RETRY_AFTER_KEY, "1.5"),)


@pytest.mark.parametrize("error", [errors.StorageError("/secret/path is locked"), ZeroDivisionError("secret")])
def test_a_fault_of_the_server_keeps_its_details_to_itself(error: Exception) -> None:
    told = refusal(error)
    assert told.code is grpc.StatusCode.INTERNAL
    assert told.is_fault
    assert "secret" not in told.message


def test_long_messages_fit_into_a_header() -> None:
    assert len(refusal(errors.InvalidRequestError("x" * 100_000)).message) == MESSAGE_LIMIT
