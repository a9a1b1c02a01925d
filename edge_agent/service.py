"""The local gRPC server: Open Inference Protocol v2 for applications on this device, and feedback beside it.

Messages live in a package of our own and the stock service is registered by a generic handler under its stock name, so
that a stock client can live in the same process.
"""

from __future__ import annotations

import os
import time

import grpc
import grpc.aio

from edge_agent import __version__
from edge_agent.config import ServingConfig
from edge_agent.errors import ConfigError, InputError
from edge_agent.serving import ModelHost
from edge_agent.status import unary
from edge_agent.tensors import check_served, read_batch, requested_outputs, write_outputs
from edge_agent.tensors import metadata as model_metadata
from protos import inference_pb2 as pb

INFERENCE_SERVICE = "inference.GRPCInferenceService"
FEEDBACK_SERVICE = "espalier.inference.v1.Feedback"
REQUEST_ID_LIMIT = 128


class InferenceService:
    """One method per RPC of the stock service."""

    def __init__(self, host: ModelHost, config: ServingConfig) -> None:
        self._host = host
        self._max_batch = config.max_batch

    async def server_live(self, request: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, request: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._host.current is not None)

    async def server_metadata(self, request: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="espalier-agent", version=__version__, extensions=[FEEDBACK_SERVICE])

    async def model_ready(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        model = self._host.current
        ready = model is not None and request.name == self._host.name and request.version in ("", model.digest)
        return pb.ModelReadyResponse(ready=ready)

    async def model_metadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        model = self._host.require_current()
        check_served(request.name, request.version, self._host.name, model)
        return model_metadata(self._host.name, model)

    async def model_infer(self, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        begun = time.perf_counter()
        model = self._host.require_current()
        check_served(request.model_name, request.model_version, self._host.name, model)
        _check_request_id(request.id)
        names = requested_outputs(request)
        batch = read_batch(request, model.engine.graph, self._max_batch)
        answer = await self._host.infer(request.id, batch, begun)
        response = pb.ModelInferResponse(
            model_name=self._host.name, model_version=answer.model.digest, id=answer.request_id
        )
        write_outputs(response, names, answer.model, answer.predictions, typed=batch.was_typed)
        return response

    def handler(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            INFERENCE_SERVICE,
            {
                "ServerLive": unary(pb.ServerLiveRequest, self.server_live),
                "ServerReady": unary(pb.ServerReadyRequest, self.server_ready),
                "ServerMetadata": unary(pb.ServerMetadataRequest, self.server_metadata),
                "ModelReady": unary(pb.ModelReadyRequest, self.model_ready),
                "ModelMetadata": unary(pb.ModelMetadataRequest, self.model_metadata),
                "ModelInfer": unary(pb.ModelInferRequest, self.model_infer),
            },
        )


class FeedbackService:
    def __init__(self, host: ModelHost) -> None:
        self._host = host

    async def label(self, request: pb.LabelRequest) -> pb.LabelResponse:
        if not request.request_id:
            raise InputError("request_id is empty; the response to ModelInfer carries the id to use")
        outcome = self._host.label(request.request_id, request.label)
        return pb.LabelResponse(matched=outcome.matched, input_kept=outcome.input_kept)

    def handler(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(FEEDBACK_SERVICE, {"Label": unary(pb.LabelRequest, self.label)})


class LocalServer:
    def __init__(self, host: ModelHost, config: ServingConfig) -> None:
        self._config = config
        self._server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", config.max_request_bytes),
                ("grpc.max_concurrent_streams", 64),
                ("grpc.so_reuseport", 0),  # two agents on one port would each get half of the requests
                ("grpc.server_handshake_timeout_ms", 5_000),
            )
        )
        self._server.add_generic_rpc_handlers(
            (InferenceService(host, config).handler(), FeedbackService(host).handler())
        )
        self.address = ""
        """What to dial, once started."""

    async def start(self) -> None:
        """Listen; raises ConfigError where the address cannot be used."""
        listen = self._config.listen
        try:
            port = self._server.add_insecure_port(listen)
        except RuntimeError as error:
            raise ConfigError(f"cannot listen on {listen}: is another agent running there? ({error})") from error
        await self._server.start()
        if listen.startswith("unix:"):
            os.chmod(listen.removeprefix("unix:"), 0o660)
            self.address = listen
        else:
            self.address = f"{listen.rpartition(':')[0]}:{port}"

    async def stop(self, grace_s: float) -> None:
        await self._server.stop(grace_s)


def _check_request_id(request_id: str) -> None:
    if len(request_id) > REQUEST_ID_LIMIT:
        raise InputError(f"a request id has at most {REQUEST_ID_LIMIT} characters, not {len(request_id)}")
