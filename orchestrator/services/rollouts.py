"""Rollouts, as operators start, watch and stop them; how they proceed is the controller's."""

from __future__ import annotations

from collections.abc import AsyncIterator

from orchestrator import convert
from orchestrator.controllers import cancel_rollout, roll_back_rollout, start_rollout
from orchestrator.errors import ConflictError
from orchestrator.records import ClassModel, Event, Rollout, RolloutState, RolloutTerms
from orchestrator.services import limits
from orchestrator.services.context import Context
from orchestrator.services.watching import checked_id, list_limit, watch
from orchestrator.store import Database, Session
from orchestrator.store.codec import decode
from protos import operator_pb2, operator_pb2_grpc


class RolloutsService(operator_pb2_grpc.RolloutsServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def Start(  # noqa: N802
        self, request: operator_pb2.StartRolloutRequest, context: Context
    ) -> operator_pb2.Rollout:
        limits.check_count("models", request.models, 64)
        limits.check_count("device_ids", request.device_ids, 10_000)
        limits.check_text("client_request_id", request.client_request_id, 128)
        models = tuple(
            ClassModel(
                device_class=limits.check_text("models.device_class", entry.device_class, 63) or "*",
                model_digest=limits.check_digest("models.model_sha256", entry.model_sha256),
            )
            for entry in request.models
        )
        device_ids = [limits.check_text("device_ids", device_id, 64) for device_id in request.device_ids]
        terms = RolloutTerms(skip_probation=request.skip_probation)

        def write(session: Session) -> operator_pb2.Rollout:
            rollout = start_rollout(
                session,
                models=models,
                terms=terms,
                device_ids=device_ids,
                client_request_id=request.client_request_id,
            )
            return convert.rollout(rollout)

        return await self._database.write(write)

    async def List(self, request: operator_pb2.ListRequest, context: Context) -> operator_pb2.RolloutList:  # noqa: N802
        limit = list_limit(request)

        def read(session: Session) -> operator_pb2.RolloutList:
            rollouts = session.rollouts.list(job_id=request.job_id, limit=limit)
            rendered = [convert.rollout(rollout) for rollout in rollouts]
            return operator_pb2.RolloutList(rollouts=rendered, revision=session.revision)

        return await self._database.read(read)

    async def Get(self, request: operator_pb2.GetRequest, context: Context) -> operator_pb2.Rollout:  # noqa: N802
        rollout_id = checked_id(request)
        return await self._database.read(lambda session: convert.rollout(session.rollouts.get(rollout_id)))

    async def Watch(  # noqa: N802
        self, request: operator_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[operator_pb2.RolloutEvent]:
        def render(_: Session, event: Event) -> list[operator_pb2.RolloutEvent]:
            rollout = convert.rollout(decode(Rollout, event.snapshot))
            return [operator_pb2.RolloutEvent(revision=event.revision, rollout=rollout)]

        async for message in watch(self._database, "rollout", request, context, render):
            yield message

    async def Rollback(self, request: operator_pb2.GetRequest, context: Context) -> operator_pb2.Rollout:  # noqa: N802
        rollout_id = checked_id(request)

        def write(session: Session) -> operator_pb2.Rollout:
            rollout = session.rollouts.get(rollout_id)
            if rollout.state is RolloutState.ROLLED_BACK:
                return convert.rollout(rollout)
            return convert.rollout(roll_back_rollout(session, rollout_id))

        return await self._database.write(write)

    async def Cancel(self, request: operator_pb2.GetRequest, context: Context) -> operator_pb2.Rollout:  # noqa: N802
        rollout_id = checked_id(request)

        def write(session: Session) -> operator_pb2.Rollout:
            rollout = session.rollouts.get(rollout_id)
            if rollout.state is RolloutState.CANCELLED:
                return convert.rollout(rollout)
            if rollout.state.is_terminal:
                raise ConflictError(f"rollout {rollout_id!r} has ended as {rollout.state.value}")
            return convert.rollout(cancel_rollout(session, rollout_id))

        return await self._database.write(write)
