"""Rollouts, as operators start, watch and stop them; how they proceed is decided in orchestrator.policy."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

from orchestrator.errors import ConflictError, InvalidRequestError
from orchestrator.policy import rollout as rollout_policy
from orchestrator.policy.actions import Action, Commit
from orchestrator.policy.waves import model_for, plan_waves
from orchestrator.records import ClassModel, Event, PublishedModel, Rollout, RolloutState, RolloutTerms
from orchestrator.services import convert, limits
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
        if len({entry.device_class for entry in models}) != len(models) or not models:
            raise InvalidRequestError("name one model for each device class, at least one in all")
        device_ids = frozenset(request.device_ids)

        def write(session: Session) -> operator_pb2.Rollout:
            if request.client_request_id:
                earlier = session.rollouts.find_by_request(request.client_request_id)
                if earlier is not None:
                    return convert.rollout(earlier)
            rollout = _plan(session, models, device_ids, skip_probation=request.skip_probation)
            session.rollouts.put_started(rollout, request.client_request_id)
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
            devices = {device.id: device for device in session.devices.list(limit=1_000_000)}
            step = rollout_policy.roll_back(rollout, devices, session.now_ms, "rolled back by an operator")
            return _take(session, step)

        return await self._database.write(write)

    async def Cancel(self, request: operator_pb2.GetRequest, context: Context) -> operator_pb2.Rollout:  # noqa: N802
        rollout_id = checked_id(request)

        def write(session: Session) -> operator_pb2.Rollout:
            rollout = session.rollouts.get(rollout_id)
            if rollout.state is RolloutState.CANCELLED:
                return convert.rollout(rollout)
            if rollout.state.is_terminal:
                raise ConflictError(f"rollout {rollout_id!r} has ended as {rollout.state.value}")
            devices = {device.id: device for device in session.devices.list(limit=1_000_000)}
            return _take(session, rollout_policy.cancel(rollout, devices, session.now_ms))

        return await self._database.write(write)


def _plan(
    session: Session, models: tuple[ClassModel, ...], device_ids: frozenset[str], *, skip_probation: bool
) -> Rollout:
    published = [session.models.get(entry.model_digest) for entry in models]
    names = {model.name for model in published}
    if len(names) > 1:
        raise InvalidRequestError(f"one rollout is of one model, these are {', '.join(sorted(names))}")
    devices = session.devices.list(limit=1_000_000)
    if device_ids:
        devices = [session.devices.get(device_id) for device_id in sorted(device_ids)]
        strangers = [device.id for device in devices if model_for(device.facts.device_class, models) is None]
        if strangers:
            raise InvalidRequestError(f"no model is named for the class of {', '.join(strangers[:5])}")
    rollout_id = f"{published[0].name}-{uuid.uuid4().hex[:8]}"
    waves = plan_waves(
        devices, models, None, seed=rollout_id, model_name=published[0].name, skip_probation=skip_probation
    )
    return Rollout(
        id=rollout_id,
        model_name=published[0].name,
        models=models,
        terms=RolloutTerms(skip_probation=skip_probation),
        waves=waves,
        created_at_ms=session.now_ms,
        updated_at_ms=session.now_ms,
    )


def _take(session: Session, step: rollout_policy.Step) -> operator_pb2.Rollout:
    """Carry out what the policy asks for, in the transaction that keeps the rollout."""
    rollout, actions = step
    for action in actions:
        _perform(session, rollout, action)
    session.rollouts.put(rollout)
    return convert.rollout(rollout)


def _perform(session: Session, rollout: Rollout, action: Action) -> None:
    if isinstance(action, Commit):
        session.devices.commit(action.device_id, action.generation)
        return
    model: PublishedModel = session.models.get(action.digest)
    session.devices.assign(action.device_id, model, rollout_id=rollout.id)
