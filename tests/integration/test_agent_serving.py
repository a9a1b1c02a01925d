"""The local service over a real socket: contents in every form, and every mistake an application can make."""

from __future__ import annotations

import array
import math

import grpc
import pytest

from protos import inference_pb2 as pb
from tests.agents import INPUT, Application, agent_config, infer_request, running_agent
from tests.models import linear_model
from tests.simulators import SimulatedControlPlane


@pytest.fixture
async def served(tmp_path):
    control_plane = SimulatedControlPlane()
    await control_plane.start()
    control_plane.assign(control_plane.publish(linear_model()), 1)
    config = agent_config(tmp_path, control_plane.address, serving__max_batch="4", feedback__max_pending="8")
    async with running_agent(config) as agent:
        await control_plane.until_state("COMMITTED", 1)
        async with Application(agent.server.address) as application:
            yield application
    await control_plane.stop()


async def test_typed_contents_are_answered_with_typed_contents(served):
    request = infer_request()
    del request.raw_input_contents[:]
    request.inputs[0].contents.uint_contents.extend(INPUT)
    request.outputs.add(name="output")
    request.outputs.add(name="output_int8")
    typed = await served.call("ModelInfer", request, pb.ModelInferResponse)
    raw = (await served.infer()).raw_output_contents[0]
    assert array.array("f", typed.outputs[0].contents.fp32_contents).tobytes() == raw
    assert [output.datatype for output in typed.outputs] == ["FP32", "INT8"]
    assert len(typed.outputs[1].contents.int_contents) == 10
    assert not typed.raw_output_contents


async def test_typed_float_contents_work_too(served):
    request = infer_request()
    del request.raw_input_contents[:]
    request.inputs[0].datatype = "FP32"
    request.inputs[0].contents.fp32_contents.extend((byte - 128) / 10 for byte in INPUT)
    typed = await served.call("ModelInfer", request, pb.ModelInferResponse)
    raw = (await served.infer()).raw_output_contents[0]
    assert array.array("f", typed.outputs[0].contents.fp32_contents).tobytes() == raw


async def test_a_batch_is_a_loop(served):
    samples = [bytes([i] * 16) for i in range(4)]
    one_by_one = [(await served.infer(sample)).raw_output_contents[0] for sample in samples]
    request = infer_request(b"".join(samples), shape=(4, 4, 4, 1), request_id="b")
    together = await served.call("ModelInfer", request, pb.ModelInferResponse)
    assert together.raw_output_contents[0] == b"".join(one_by_one)
    assert list(together.outputs[0].shape) == [4, 10]
    assert (await served.label("b/3", 1)).matched
    assert not (await served.label("b", 1)).matched


async def test_an_empty_id_is_replaced_by_one_that_feedback_knows(served):
    first, second = (await served.infer()), (await served.infer())
    assert first.id
    assert first.id != second.id
    assert (await served.label(first.id, 3)).matched
    assert not (await served.label(first.id, 3)).matched


async def test_the_oldest_request_is_forgotten_first(served):
    ids = [(await served.infer()).id for _ in range(9)]
    assert not (await served.label(ids[0], 3)).matched
    assert (await served.label(ids[1], 3)).matched


def wrong(**changes: object) -> pb.ModelInferRequest:
    request = infer_request()
    tensor = request.inputs[0]
    for name, value in changes.items():
        match name:
            case "shape":
                tensor.shape[:] = value
            case "raw":
                request.raw_input_contents[:] = value
            case "outputs":
                for output in value:
                    request.outputs.add(name=output)
            case "typed":
                del request.raw_input_contents[:]
                tensor.contents.uint_contents.extend(value)
            case "floats":
                tensor.datatype = "FP32"
                request.raw_input_contents[:] = [array.array("f", value).tobytes()]
            case "parameter":
                tensor.parameters[value].string_param = "region"
            case "id" | "model_version":
                setattr(request, name, value)
            case _:
                setattr(tensor, name, value)
    return request


MISTAKES = {
    "a wrong input name": (wrong(name="image"), "'input'"),
    "a type the model does not take": (wrong(datatype="INT64"), "UINT8 or FP32"),
    "a shape without the batch": (wrong(shape=[4, 4, 1]), "[batch, 4, 4, 1]"),
    "an empty batch": (wrong(shape=[0, 4, 4, 1], raw=[b""]), "1 to 4"),
    "a batch that is too large": (wrong(shape=[5, 4, 4, 1], raw=[bytes(80)]), "1 to 4"),
    "a negative dimension": (wrong(shape=[-1, 4, 4, 1]), "1 to 4"),
    "too few bytes": (wrong(raw=[b"short"]), "5 bytes"),
    "contents twice": (wrong(raw=[INPUT, INPUT]), "once"),
    "no contents": (wrong(raw=[]), "uint_contents"),
    "a byte above 255": (wrong(typed=[256] * 16), "above 255"),
    "an unknown output": (wrong(outputs=["scores"]), "'scores'"),
    "an output asked for twice": (wrong(outputs=["output", "output"]), "twice"),
    "shared memory": (wrong(parameter="shared_memory_region"), "shared memory"),
    "not a number": (wrong(floats=[math.nan] * 16), "NaN"),
    "an endless id": (wrong(id="x" * 1000), "128"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_a_mistake_is_an_invalid_argument_that_says_what_is_right(served, mistake):
    request, told = MISTAKES[mistake]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.call("ModelInfer", request, pb.ModelInferResponse)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert told in caught.value.details()
    assert (await served.infer()).raw_output_contents


async def test_another_version_is_not_found(served):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.call("ModelInfer", wrong(model_version="f" * 64), pb.ModelInferResponse)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_bytes_that_are_no_message_are_an_invalid_argument(served):
    call = served.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"\xff\xff\xff", timeout=5)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_label_that_is_no_class_is_an_invalid_argument(served):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.label((await served.infer()).id, 10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.label("", 1)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_before_the_first_model_the_server_is_live_and_not_ready(tmp_path):
    config = agent_config(tmp_path, "127.0.0.1:1")
    async with running_agent(config) as agent, Application(agent.server.address) as application:
        assert (await application.call("ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse)).live
        assert not (await application.call("ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse)).ready
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await application.infer()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
