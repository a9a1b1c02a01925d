"""A stock client talks to the agent unchanged, in the same process: PyPI's tritonclient, which brings its own stubs."""

from __future__ import annotations

import asyncio
from functools import partial

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from edge_agent.runtime import load_model
from tests.agents import agent_config, running_agent
from tests.models import linear_model
from tests.simulators import SimulatedControlPlane


@pytest.fixture(params=["loopback", "unix"])
async def agent(tmp_path, request):
    control_plane = SimulatedControlPlane()
    await control_plane.start()
    control_plane.assign(control_plane.publish(linear_model()), 1)
    listen = "127.0.0.1:0" if request.param == "loopback" else f"unix:{tmp_path}/agent.sock"
    config = agent_config(tmp_path / "state", control_plane.address, serving__listen=listen)
    async with running_agent(config) as running:
        await control_plane.until_state("COMMITTED", 1)
        yield running
    await control_plane.stop()


def expected(x: np.ndarray) -> np.ndarray:
    model = linear_model()
    engine = load_model(model.data, lambda sha256: model.blobs[sha256.hex()], path="reference")
    return np.stack([np.frombuffer(engine.dequantize(engine.infer_raw(row.tobytes())), np.float32) for row in x])


def batch(samples: int = 3) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (samples, 4, 4, 1), np.uint8)


async def test_the_aio_client_sees_a_live_and_ready_server(agent):
    async with triton_aio.InferenceServerClient(agent.server.address) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("digits")
        assert await client.is_model_ready("digits", agent.running.digest)
        assert not await client.is_model_ready("letters")
        metadata = await client.get_server_metadata()
        assert metadata.name == "espalier-agent"
        model = await client.get_model_metadata("digits", as_json=True)
        assert model["versions"] == [agent.running.digest]
        assert model["inputs"] == [{"name": "input", "datatype": "UINT8", "shape": ["-1", "4", "4", "1"]}]


async def test_the_aio_client_gets_the_reference_s_numbers(agent):
    x = batch()
    tensor = triton_aio.InferInput("input", list(x.shape), "UINT8")
    tensor.set_data_from_numpy(x)
    outputs = [triton_aio.InferRequestedOutput("output"), triton_aio.InferRequestedOutput("output_int8")]
    async with triton_aio.InferenceServerClient(agent.server.address) as client:
        result = await client.infer("digits", [tensor], outputs=outputs, request_id="mine")
    assert result.get_response().id == "mine"
    np.testing.assert_array_equal(result.as_numpy("output"), expected(x))
    np.testing.assert_array_equal(result.as_numpy("output_int8") * np.float32(0.1), expected(x))


async def test_float_input_is_what_the_raw_table_would_have_made(agent):
    x = batch()
    normalised = ((x.astype(np.float32) - 128) / 10).astype(np.float32)
    tensor = triton_aio.InferInput("input", list(x.shape), "FP32")
    tensor.set_data_from_numpy(normalised)
    async with triton_aio.InferenceServerClient(agent.server.address) as client:
        result = await client.infer("digits", [tensor])
    np.testing.assert_array_equal(result.as_numpy("output"), expected(x))


async def test_an_unknown_model_is_an_error_that_names_the_one_served(agent):
    tensor = triton_aio.InferInput("input", [1, 4, 4, 1], "UINT8")
    tensor.set_data_from_numpy(batch(1))
    async with triton_aio.InferenceServerClient(agent.server.address) as client:
        with pytest.raises(InferenceServerException, match="'digits' is") as caught:
            await client.infer("letters", [tensor])
    assert caught.value.status() == "StatusCode.NOT_FOUND"


async def test_the_synchronous_client_works_from_a_thread(agent):
    x = batch(1)

    def ask(address: str) -> np.ndarray:
        with triton.InferenceServerClient(address) as client:
            tensor = triton.InferInput("input", list(x.shape), "UINT8")
            tensor.set_data_from_numpy(x)
            output: np.ndarray = client.infer("digits", [tensor]).as_numpy("output")
            return output

    output = await asyncio.to_thread(partial(ask, agent.server.address))
    np.testing.assert_array_equal(output, expected(x))
