"""Policies that operators apply, and the decisions that were made by them."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

from orchestrator import convert
from orchestrator.errors import ConflictError
from orchestrator.policy import recompression
from orchestrator.policy.evidence import EvidenceError
from orchestrator.records import Decision, Event, Policy
from orchestrator.services import limits
from orchestrator.services.context import Context
from orchestrator.services.watching import checked_id, list_limit, watch
from orchestrator.spec import parse_policy
from orchestrator.store import Database, Session
from orchestrator.store.codec import decode
from protos import operator_pb2, operator_pb2_grpc


class PoliciesService(operator_pb2_grpc.PoliciesServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def Apply(  # noqa: N802
        self, request: operator_pb2.ApplyPolicyRequest, context: Context
    ) -> operator_pb2.Policy:
        limits.check_text("spec_yaml", request.spec_yaml, limits.SPEC_BYTES, required=True)
        spec = parse_policy(request.spec_yaml)

        def write(session: Session) -> operator_pb2.Policy:
            before = session.policies.find(spec.name)
            if before is not None and before.spec_yaml == request.spec_yaml and not before.deleted:
                return convert.policy(before)
            policy = Policy(name=spec.name, spec_yaml=request.spec_yaml, updated_at_ms=session.now_ms)
            session.policies.put(policy)
            return convert.policy(policy)

        return await self._database.write(write)

    async def List(self, request: operator_pb2.ListRequest, context: Context) -> operator_pb2.PolicyList:  # noqa: N802
        limit = list_limit(request)

        def read(session: Session) -> operator_pb2.PolicyList:
            policies = [convert.policy(policy) for policy in session.policies.list(limit=limit)]
            return operator_pb2.PolicyList(policies=policies, revision=session.revision)

        return await self._database.read(read)

    async def Get(self, request: operator_pb2.GetRequest, context: Context) -> operator_pb2.Policy:  # noqa: N802
        name = checked_id(request)
        return await self._database.read(lambda session: convert.policy(session.policies.get(name)))

    async def Watch(  # noqa: N802
        self, request: operator_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[operator_pb2.PolicyEvent]:
        def render(_: Session, event: Event) -> list[operator_pb2.PolicyEvent]:
            policy = convert.policy(decode(Policy, event.snapshot))
            return [operator_pb2.PolicyEvent(revision=event.revision, policy=policy)]

        async for message in watch(self._database, "policy", request, context, render):
            yield message

    async def Delete(self, request: operator_pb2.GetRequest, context: Context) -> operator_pb2.Policy:  # noqa: N802
        name = checked_id(request)
        return await self._database.write(lambda session: convert.policy(session.policies.delete(name)))


class DecisionsService(operator_pb2_grpc.DecisionsServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def List(  # noqa: N802
        self, request: operator_pb2.ListRequest, context: Context
    ) -> operator_pb2.DecisionList:
        limit = list_limit(request)

        def read(session: Session) -> operator_pb2.DecisionList:
            found = session.decisions.list(device_id=request.device_id, job_id=request.job_id, limit=limit)
            decisions = [convert.decision(decision) for decision in found]
            return operator_pb2.DecisionList(decisions=decisions, revision=session.revision)

        return await self._database.read(read)

    async def Get(self, request: operator_pb2.GetRequest, context: Context) -> operator_pb2.Decision:  # noqa: N802
        decision_id = checked_id(request)
        return await self._database.read(lambda session: convert.decision(session.decisions.get(decision_id)))

    async def Watch(  # noqa: N802
        self, request: operator_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[operator_pb2.DecisionEvent]:
        def render(_: Session, event: Event) -> list[operator_pb2.DecisionEvent]:
            decision = convert.decision(decode(Decision, event.snapshot))
            return [operator_pb2.DecisionEvent(revision=event.revision, decision=decision)]

        async for message in watch(self._database, "decision", request, context, render):
            yield message

    async def Replay(  # noqa: N802
        self, request: operator_pb2.GetRequest, context: Context
    ) -> operator_pb2.ReplayResponse:
        decision_id = checked_id(request)
        decision = await self._database.read(lambda session: session.decisions.get(decision_id))
        try:
            again = recompression.replay(decision)
        except EvidenceError as error:
            raise ConflictError(f"decision {decision_id!r} cannot be replayed: {error}") from error
        action = again.action if isinstance(again, recompression.Recompress) else ""
        replayed = dataclasses.replace(decision, action=action, reason=again.reason)
        return operator_pb2.ReplayResponse(
            same=recompression.is_same(decision, again), replayed=convert.decision(replayed)
        )
