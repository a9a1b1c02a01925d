"""What happens to every call around its handler: identity, decoding, deadlines, errors to statuses, one log line.

Handlers raise typed errors and know no status codes. gRPC would answer UNKNOWN, with the text of a Python exception, to
a message it cannot decode; here it becomes INVALID_ARGUMENT.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from orchestrator.errors import InvalidRequestError
from orchestrator.services.context import Context
from orchestrator.services.identity import identify, set_current_device
from orchestrator.services.status import refusal

logger = logging.getLogger(__name__)

Observe = Callable[[str, str, float], None]
"""Told of every call: method, status code, seconds."""

_HEALTH = "/grpc.health.v1.Health/"


class _Malformed:
    """Stands for a request that could not be decoded, until there is somebody to tell."""


class BoundaryInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler but those of the health service."""

    def __init__(self, observe: Observe, *, needs_device: bool) -> None:
        self._observe = observe
        self._needs_device = needs_device

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(_HEALTH):
            return handler
        return self._wrap(handler, handler_call_details.method)

    def _wrap(self, handler: Any, method: str) -> Any:
        make, behaviour = _kind_of(handler)
        if handler.response_streaming:

            async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
                with _Call(self._observe, method) as call:
                    try:
                        self._admit(request, context, needs_deadline=False)
                        async for response in behaviour(_checked(request), context):
                            yield response
                    except Exception as error:
                        await call.refuse(error, context)

            return make(stream, _tolerant(handler.request_deserializer), handler.response_serializer)

        async def unary(request: Any, context: Context) -> Any:
            with _Call(self._observe, method) as call:
                try:
                    self._admit(request, context, needs_deadline=not handler.request_streaming)
                    return await behaviour(_checked(request), context)
                except Exception as error:
                    return await call.refuse(error, context)

        return make(unary, _tolerant(handler.request_deserializer), handler.response_serializer)

    def _admit(self, request: Any, context: Context, *, needs_deadline: bool) -> None:
        if self._needs_device:
            set_current_device(identify(dict(context.invocation_metadata() or ())))
        if isinstance(request, _Malformed):
            raise InvalidRequestError("the request is not a valid message of this call")
        if needs_deadline and context.time_remaining() is None:
            raise InvalidRequestError("the call has no deadline: set one")


class _Call:
    """Times one call and remembers how it ended."""

    def __init__(self, observe: Observe, method: str) -> None:
        self._observe = observe
        self._method = method
        self._code = "OK"

    def __enter__(self) -> _Call:
        self._began = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._code == "OK":
            self._code = "CANCELLED"
        seconds = time.perf_counter() - self._began
        self._observe(self._method, self._code, seconds)
        logger.debug("%s %s in %.3f s", self._method, self._code, seconds)

    async def refuse(self, error: Exception, context: Context) -> None:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        told = refusal(error)
        self._code = told.code.name
        if told.is_fault:
            logger.error("%s failed", self._method, exc_info=error)
        else:
            logger.info("%s refused: %s: %s", self._method, told.code.name, told.message)
        await context.abort(told.code, told.message, told.trailers)


def _kind_of(handler: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """How to make a handler of this kind, and what it runs."""
    match handler.request_streaming, handler.response_streaming:
        case False, False:
            return grpc.unary_unary_rpc_method_handler, handler.unary_unary
        case False, True:
            return grpc.unary_stream_rpc_method_handler, handler.unary_stream
        case True, False:
            return grpc.stream_unary_rpc_method_handler, handler.stream_unary
        case _:
            return grpc.stream_stream_rpc_method_handler, handler.stream_stream


def _tolerant(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def decode(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return _Malformed()

    return decode


def _checked(request: Any) -> Any:
    """A single request as it is; of a stream, one that refuses what could not be decoded."""
    return _checked_stream(request) if hasattr(request, "__aiter__") else request


async def _checked_stream(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        if isinstance(request, _Malformed):
            raise InvalidRequestError("a message of the request stream is not valid")
        yield request
