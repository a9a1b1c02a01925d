"""Running agents and applications for tests: real sockets on free ports, real state folders."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import grpc.aio

from edge_agent.agent import Agent
from edge_agent.config import AgentConfig, load_config
from protos import inference_pb2 as pb

INPUT = bytes(range(0, 256, 16))
"""One sample of `linear_model`."""


def agent_config(state_dir: Path, address: str, **keys: str) -> AgentConfig:
    """Quick windows, reports and retries; `section__key` sets a key."""
    flags = {
        "device.id": "camera-1",
        "device.state_dir": str(state_dir),
        "control_plane.address": address,
        "control_plane.sync_interval_s": "0.5",
        "control_plane.backoff_initial_s": "0.02",
        "control_plane.backoff_cap_s": "0.1",
        "control_plane.report_interval_s": "0.05",
        "serving.listen": "127.0.0.1:0",
        "telemetry.window_s": "0.1",
    }
    flags |= {key.replace("__", "."): value for key, value in keys.items()}
    return load_config(None, {}, flags)


@asynccontextmanager
async def running_agent(config: AgentConfig) -> AsyncIterator[Agent]:
    agent = Agent(config, rng=random.Random(7))
    await agent.start()
    try:
        yield agent
    finally:
        await agent.stop()


class Application:
    """What an application on the device does, over the agent's own socket."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),))

    async def __aenter__(self) -> Application:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.channel.close()

    async def call(self, method: str, request: Any, response_type: Any, service: str = "") -> Any:
        path = f"/{service or 'inference.GRPCInferenceService'}/{method}"
        call = self.channel.unary_unary(
            path, request_serializer=lambda m: m.SerializeToString(), response_deserializer=response_type.FromString
        )
        return await call(request, timeout=10, wait_for_ready=True)

    async def infer(self, data: bytes = INPUT, *, request_id: str = "", model: str = "digits") -> pb.ModelInferResponse:
        request = infer_request(data, request_id=request_id, model=model)
        response: pb.ModelInferResponse = await self.call("ModelInfer", request, pb.ModelInferResponse)
        return response

    async def label(self, request_id: str, label: int) -> pb.LabelResponse:
        request = pb.LabelRequest(request_id=request_id, label=label)
        response: pb.LabelResponse = await self.call(
            "Label", request, pb.LabelResponse, service="espalier.inference.v1.Feedback"
        )
        return response


async def eventually(holds: Callable[[], Any], *, deadline_s: float = 10.0) -> None:
    """Poll until `holds` is true; for what happens inside an agent and is told to nobody."""
    ends_at = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < ends_at, f"not within {deadline_s} s"
        await asyncio.sleep(0.01)


def infer_request(
    data: bytes = INPUT, *, shape: tuple[int, ...] = (1, 4, 4, 1), request_id: str = "", model: str = "digits"
) -> pb.ModelInferRequest:
    tensor = pb.ModelInferRequest.InferInputTensor(name="input", datatype="UINT8", shape=shape)
    return pb.ModelInferRequest(model_name=model, id=request_id, inputs=[tensor], raw_input_contents=[data])
