"""Published models, and how a model gets published: its file is parsed and every blob it names must be here."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterable

from google.protobuf.message import DecodeError

from edge_agent.runtime import parse_model
from orchestrator import convert
from orchestrator.errors import ConflictError, InvalidRequestError
from orchestrator.records import Event, Measurement, PublishedModel
from orchestrator.services import limits
from orchestrator.services.context import Context
from orchestrator.services.watching import checked_id, list_limit, watch
from orchestrator.store import BlobStore, Database, Session
from orchestrator.store.codec import decode
from protos import model_pb2, operator_pb2, operator_pb2_grpc

MODEL_FILE_BYTES = 4 << 20
STATEMENT_BYTES = 64 * 1024
BLOBS_PER_MODEL = 4096
STATEMENTS_PER_MODEL = 256


def render_model(session: Session, model: PublishedModel) -> operator_pb2.PublishedModel:
    return convert.published_model(model, session.models.statements(model.digest))


class ModelsService(operator_pb2_grpc.ModelsServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def List(self, request: operator_pb2.ListRequest, context: Context) -> operator_pb2.ModelList:  # noqa: N802
        limit = list_limit(request)

        def read(session: Session) -> operator_pb2.ModelList:
            models = session.models.list(job_id=request.job_id, limit=limit)
            rendered = [render_model(session, model) for model in models]
            return operator_pb2.ModelList(models=rendered, revision=session.revision)

        return await self._database.read(read)

    async def Get(self, request: operator_pb2.GetRequest, context: Context) -> operator_pb2.PublishedModel:  # noqa: N802
        digest = checked_id(request)
        return await self._database.read(lambda session: render_model(session, session.models.get(digest)))

    async def Watch(  # noqa: N802
        self, request: operator_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[operator_pb2.ModelEvent]:
        def render(session: Session, event: Event) -> list[operator_pb2.ModelEvent]:
            model = render_model(session, decode(PublishedModel, event.snapshot))
            return [operator_pb2.ModelEvent(revision=event.revision, model=model)]

        async for message in watch(self._database, "model", request, context, render):
            yield message


async def publish_model(
    database: Database, blobs: BlobStore, request: operator_pb2.PublishModelRequest
) -> operator_pb2.PublishedModel:
    """Record a model and its statements; what is known already is only added to.

    Raises:
        ConflictError: a blob is not here.
        ModelFormatError, InvalidRequestError: the model or a statement is not valid, or they do not belong together.
    """
    limits.check_text("job_id", request.job_id, 64)
    limits.check_count("blobs", request.blobs, BLOBS_PER_MODEL)
    limits.check_count("statements", request.statements, STATEMENTS_PER_MODEL)
    model = await asyncio.to_thread(_read_model, blobs, request)
    statements = await asyncio.to_thread(_read_statements, blobs, request)

    def write(session: Session) -> operator_pb2.PublishedModel:
        before = session.models.find(model.digest)
        merged = _with_statements(before or dataclasses.replace(model, published_at_ms=session.now_ms), statements)
        for digest, statement in statements.items():
            session.models.put_statement(digest, model.digest, statement.SerializeToString(deterministic=True))
        if merged != before:
            session.models.put(merged)
        return render_model(session, merged)

    return await database.write(write)


def _read_model(blobs: BlobStore, request: operator_pb2.PublishModelRequest) -> PublishedModel:
    digest, size = limits.check_blob("model", request.model, MODEL_FILE_BYTES)
    _check_present(blobs, [("model", digest, size)])
    graph = parse_model(blobs.get_bytes(digest, MODEL_FILE_BYTES))
    tensors = {blob.sha256: blob.size_bytes for blob in graph.tensor_blobs}
    named = dict(tensors)
    if graph.golden is not None:
        named[graph.golden.sha256] = graph.golden.size_bytes
    if named != {blob.sha256: blob.size_bytes for blob in request.blobs}:
        raise InvalidRequestError("the blobs of the request are not those that the model names")
    _check_present(blobs, [("blob", sha256.hex(), size_bytes) for sha256, size_bytes in named.items()])
    return PublishedModel(
        digest=digest,
        name=graph.name,
        size_bytes=size + sum(tensors.values()),
        file_bytes=size,
        published_at_ms=0,
        job_id=request.job_id,
        blob_digests=tuple(sorted(sha256.hex() for sha256 in named)),
    )


def _read_statements(blobs: BlobStore, request: operator_pb2.PublishModelRequest) -> dict[str, model_pb2.Statement]:
    statements = {}
    for blob in request.statements:
        digest, size = limits.check_blob("statement", blob, STATEMENT_BYTES)
        _check_present(blobs, [("statement", digest, size)])
        try:
            statement = model_pb2.Statement.FromString(blobs.get_bytes(digest, STATEMENT_BYTES))
        except DecodeError:
            raise InvalidRequestError(f"blob {digest} is no statement") from None
        if statement.model_sha256 != request.model.sha256:
            raise InvalidRequestError(f"statement {digest} is about another model")
        if statement.HasField("measurement"):
            limits.check_measurement(statement.measurement)
        for measurement in statement.certificate.measurements:
            limits.check_measurement(measurement)
        statements[digest] = statement
    return statements


def _with_statements(model: PublishedModel, statements: dict[str, model_pb2.Statement]) -> PublishedModel:
    fresh = {digest: body for digest, body in statements.items() if digest not in model.statement_digests}
    measured: Iterable[Measurement] = (
        convert.measurement_from(statement.measurement)
        for statement in fresh.values()
        if statement.HasField("measurement")
    )
    return dataclasses.replace(
        model,
        statement_digests=(*model.statement_digests, *fresh),
        measurements=(*model.measurements, *measured),
    )


def _check_present(blobs: BlobStore, wanted: Iterable[tuple[str, str, int]]) -> None:
    for what, digest, size in wanted:
        actual = blobs.size(digest)
        if actual is None:
            raise ConflictError(f"{what} {digest} is not here: put it first")
        if actual != size:
            raise InvalidRequestError(f"{what} {digest} has {actual} bytes, not {size}")
