"""The one table from errors to gRPC status codes, and the one place that applies it to calls from applications."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from edge_agent import errors

logger = logging.getLogger(__name__)

STATUS_OF: dict[type[errors.EspalierError], grpc.StatusCode] = {
    errors.EspalierError: grpc.StatusCode.INTERNAL,
    errors.ConfigError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ModelError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ModelFormatError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.DigestMismatchError: grpc.StatusCode.DATA_LOSS,
    errors.GoldenMismatchError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.BlobMissingError: grpc.StatusCode.UNAVAILABLE,
    errors.ModelRefusedError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.InputError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotServedError: grpc.StatusCode.NOT_FOUND,
    errors.NotReadyError: grpc.StatusCode.UNAVAILABLE,
    errors.SketchError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.DiskFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.StateDamagedError: grpc.StatusCode.DATA_LOSS,
    errors.JournalError: grpc.StatusCode.DATA_LOSS,
    errors.SpoolError: grpc.StatusCode.DATA_LOSS,
    errors.RefusedError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.TransientError: grpc.StatusCode.UNAVAILABLE,
}

_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)


def unary(
    request_type: type[_Request], answer: Callable[[_Request], Awaitable[_Response]]
) -> grpc.RpcMethodHandler[bytes, bytes]:
    """A handler that decodes, answers and encodes; whatever goes wrong becomes the right status."""

    async def handle(data: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        try:
            response = await answer(request_type.FromString(data))
            encoded: bytes = response.SerializeToString()
        except DecodeError:
            code, message = grpc.StatusCode.INVALID_ARGUMENT, f"not a valid {request_type.DESCRIPTOR.name}"
        except errors.EspalierError as error:
            code, message = STATUS_OF[type(error)], str(error)
        except Exception:
            logger.exception("a call of an application failed")
            code, message = grpc.StatusCode.INTERNAL, "internal error; the agent's log says more"
        else:
            return encoded
        await context.abort(code, message)
        raise AssertionError("abort raises")

    return grpc.unary_unary_rpc_method_handler(handle)
