"""The only file that calls the control plane: one channel, a deadline on every call, and errors a caller can act on."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncGenerator, Awaitable, Iterable
from typing import Any, TypeVar, cast

import grpc
import grpc.aio

from edge_agent.config import ControlPlaneConfig
from edge_agent.errors import EspalierError, RefusedError, TransientError
from protos import fleet_pb2 as pb
from protos import fleet_pb2_grpc

UNARY_DEADLINE_S = 20.0
PUSH_DEADLINE_S = 60.0
DOWNLOAD_DEADLINE_S = 3600.0
CHUNK_DEADLINE_S = 60.0
"""Between two chunks of a download: a stalled stream is taken up again at its offset."""
DOORBELL_DEADLINE_S = 600.0
"""Between two messages of a watch, heartbeats included."""
DEVICE_ID_KEY = "espalier-device-id"
RETRY_AFTER_KEY = "espalier-retry-after-s"
NEXT_SEQ_KEY = "espalier-next-seq"
RETRY_LIMIT_S = 3600.0

_CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),  # or pings stop after two, and with them a NAT's memory of us
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # of one attempt to connect
    ("grpc.max_reconnect_backoff_ms", 2_000),  # `Backoff` decides when to try; the channel must then be willing
    ("grpc.use_local_subchannel_pool", 1),
)

# CANCELLED and INTERNAL are what a server that sheds load answers; see the pending-requests limit.
_TRANSIENT = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.ABORTED,
    }
)

_Response = TypeVar("_Response")


class Backoff:
    """Waits between attempts: exponential with full jitter, so that a fleet does not come back in step."""

    def __init__(self, initial_s: float, cap_s: float, rng: random.Random) -> None:
        self._initial_s = initial_s
        self._cap_s = cap_s
        self._rng = rng
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    def next_s(self) -> float:
        ceiling = min(self._cap_s, self._initial_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return self._rng.uniform(0, ceiling)


class ControlPlaneClient:
    """Every method raises TransientError (try again later) or RefusedError (do not)."""

    def __init__(self, config: ControlPlaneConfig, device_id: str) -> None:
        self._channel = grpc.aio.insecure_channel(config.address, options=_CHANNEL_OPTIONS)
        self._stub = fleet_pb2_grpc.FleetStub(self._channel)  # type: ignore[no-untyped-call]
        self._metadata = ((DEVICE_ID_KEY, device_id),)

    async def close(self) -> None:
        await self._channel.close()

    async def sync(self, request: pb.SyncRequest) -> pb.SyncResponse:
        return await _answer(self._stub.Sync(request, timeout=UNARY_DEADLINE_S, metadata=self._metadata))

    async def report(self, request: pb.ReportRequest) -> None:
        await _answer(self._stub.Report(request, timeout=UNARY_DEADLINE_S, metadata=self._metadata))

    async def push_telemetry(self, request: pb.PushTelemetryRequest) -> pb.PushTelemetryResponse:
        return await _answer(self._stub.PushTelemetry(request, timeout=PUSH_DEADLINE_S, metadata=self._metadata))

    async def push_samples(self, request: pb.PushSamplesRequest) -> pb.PushSamplesResponse:
        return await _answer(self._stub.PushSamples(request, timeout=PUSH_DEADLINE_S, metadata=self._metadata))

    def watch(self, boot_id: str) -> AsyncGenerator[pb.Doorbell, None]:
        """Doorbells until the server ends the stream, which it does now and then without any fault."""
        call = self._stub.Watch(pb.WatchRequest(boot_id=boot_id), metadata=self._metadata)
        return _messages(call, DOORBELL_DEADLINE_S)

    def get_blobs(self, ranges: Iterable[tuple[str, int]]) -> AsyncGenerator[pb.BlobChunk, None]:
        """Chunks of the blobs, in the order asked for; each range is a digest and the offset to begin at."""
        request = pb.GetBlobsRequest(
            ranges=[pb.BlobRange(sha256=bytes.fromhex(digest), offset=offset) for digest, offset in ranges]
        )
        call = self._stub.GetBlobs(request, timeout=DOWNLOAD_DEADLINE_S, metadata=self._metadata)
        return _messages(call, CHUNK_DEADLINE_S)


async def _answer(call: Awaitable[_Response]) -> _Response:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise _translate(error) from error


async def _messages(
    call: grpc.aio.UnaryStreamCall[Any, _Response], deadline_s: float
) -> AsyncGenerator[_Response, None]:
    try:
        while True:
            async with asyncio.timeout(deadline_s):
                message = await call.read()
            if message is grpc.aio.EOF:
                return
            yield cast(_Response, message)
    except grpc.aio.AioRpcError as error:
        raise _translate(error) from error
    except TimeoutError:
        raise TransientError(f"the control plane sent nothing for {deadline_s:.0f} s") from None
    finally:
        call.cancel()


def _translate(error: grpc.aio.AioRpcError) -> EspalierError:
    code = error.code()
    message = f"control plane: {code.name}: {error.details()}"
    if code in _TRANSIENT:
        wait_s = _trailer(error, RETRY_AFTER_KEY)
        return TransientError(message, retry_after_s=None if wait_s is None else min(max(wait_s, 0.0), RETRY_LIMIT_S))
    next_seq = _trailer(error, NEXT_SEQ_KEY)
    return RefusedError(message, code=code.name, next_seq=None if next_seq is None else int(next_seq))


def _trailer(error: grpc.aio.AioRpcError, wanted: str) -> float | None:
    """A number among the trailers; None where there is none, or none that is finite."""
    for key, value in error.trailing_metadata() or ():
        if key == wanted:
            with contextlib.suppress(ValueError):
                number = float(value)
                return number if math.isfinite(number) else None
    return None
