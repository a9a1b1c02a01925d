"""One channel to the control plane, and how calls on it are repeated.

A server that has answered once is waited for while it restarts; one that never has is given up on soon, because then
the address is probably wrong. Waits between tries are exponential with full jitter.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import grpc.aio

from orchestrator.client.failures import RETRYABLE, error_of
from orchestrator.errors import ExhaustedError, OrchestratorError

T = TypeVar("T")

UNARY_DEADLINE_S = 20.0
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 2.0

_OPTIONS = [
    ("grpc.enable_retries", 0),  # done here, where it is known what a repeat does
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),  # or pings stop after two, and a dead server is not noticed
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


class Patience:
    """How long one call is repeated for; made anew for each call."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._ceiling_s = _FIRST_WAIT_S

    async def wait_or_raise(self, error: OrchestratorError) -> None:
        """Wait before another try, or raise `error` where there shall be none."""
        if not isinstance(error, RETRYABLE) or time.monotonic() >= self._until:
            raise error
        wait_s = random.uniform(0, self._ceiling_s)
        if isinstance(error, ExhaustedError) and error.retry_after_s is not None:
            wait_s += error.retry_after_s
        self._ceiling_s = min(self._ceiling_s * 2, _LONGEST_WAIT_S)
        await asyncio.sleep(wait_s)


class Connection:
    def __init__(self, address: str, *, patience_s: float, connect_patience_s: float) -> None:
        self.address = address
        self._patience_s = patience_s
        self._connect_patience_s = connect_patience_s
        self._channel: grpc.aio.Channel | None = None
        self._stubs: dict[Any, Any] = {}
        self.has_answered = False

    def stub(self, kind: Any) -> Any:
        """A stub of this kind; the channel is made on first use, inside the event loop."""
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self.address, options=_OPTIONS)
        if kind not in self._stubs:
            self._stubs[kind] = kind(self._channel)
        return self._stubs[kind]

    def patience(self) -> Patience:
        return Patience(self._patience_s if self.has_answered else self._connect_patience_s)

    async def call(self, method: Callable[..., Awaitable[T]], request: Any, deadline_s: float = UNARY_DEADLINE_S) -> T:
        """A unary call, repeated until it is answered or patience ends."""
        return await self.repeat(lambda: method(request, timeout=deadline_s))

    async def repeat(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Whatever `attempt` does, again and again until it works or cannot."""
        patience = self.patience()
        while True:
            try:
                answer = await attempt()
            except grpc.aio.AioRpcError as failure:
                await patience.wait_or_raise(error_of(failure))
            except OrchestratorError as error:
                await patience.wait_or_raise(error)
            else:
                self.has_answered = True
                return answer

    async def messages(self, call: Any) -> AsyncIterator[Any]:
        """What a streaming call sends; its failure as one of our errors, and its end when the caller leaves."""
        try:
            async for message in call:
                self.has_answered = True
                yield message
        except grpc.aio.AioRpcError as failure:
            raise error_of(failure) from failure
        finally:
            call.cancel()

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None
            self._stubs.clear()
