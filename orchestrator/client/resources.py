"""What operators ask for: list, get and watch of every resource, and the few things one can do to each."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Generic, TypeVar, cast

from orchestrator.client.connection import Connection
from orchestrator.client.digests import Digest, sha256_of
from orchestrator.client.watching import follow
from protos import operator_pb2 as pb
from protos import operator_pb2_grpc

L = TypeVar("L")
R = TypeVar("R")
E = TypeVar("E")


class Resource(Generic[L, R, E]):
    """`list` answers with a revision; `watch` from that revision misses nothing."""

    _stub_kind: Any

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def _stub(self) -> Any:
        return self._connection.stub(self._stub_kind)

    async def list(self, *, limit: int = 0, device_id: str = "", job_id: str = "") -> L:
        """The newest `limit`; 0 for the server's default of 1000."""
        request = pb.ListRequest(limit=limit, device_id=device_id, job_id=job_id)
        return cast(L, await self._connection.call(self._stub.List, request))

    async def get(self, id: str) -> R:
        return cast(R, await self._connection.call(self._stub.Get, pb.GetRequest(id=id)))

    def watch(self, *, from_revision: int = 0, id: str = "") -> AsyncIterator[E]:
        """Each change after `from_revision` (0: after now), in order, across restarts of the server.

        Raises:
            RevisionGoneError: events after that revision have been deleted; list again.
        """
        return follow(self._connection, lambda: self._stub.Watch, from_revision, id)


class Jobs(Resource[pb.JobList, pb.Job, pb.JobEvent]):
    _stub_kind = operator_pb2_grpc.JobsStub

    async def submit(self, spec_yaml: str, *, working_dir_sha256: Digest, client_request_id: str = "") -> pb.Job:
        """Start a job. Its working directory is a blob that has been put; see orchestrator.working_dir.

        Submitting twice with the same `client_request_id` is one job.
        """
        request = pb.SubmitJobRequest(
            spec_yaml=spec_yaml,
            working_dir_sha256=sha256_of(working_dir_sha256),
            client_request_id=client_request_id or uuid.uuid4().hex,
        )
        return cast(pb.Job, await self._connection.call(self._stub.Submit, request))

    async def cancel(self, id: str) -> pb.Job:
        """Ask a job to stop; a stage that is under way may still end first."""
        return cast(pb.Job, await self._connection.call(self._stub.Cancel, pb.GetRequest(id=id)))


class Models(Resource[pb.ModelList, pb.PublishedModel, pb.ModelEvent]):
    _stub_kind = operator_pb2_grpc.ModelsStub


class Devices(Resource[pb.DeviceList, pb.Device, pb.DeviceEvent]):
    _stub_kind = operator_pb2_grpc.DevicesStub

    async def sample_stats(self, *, device_id: str = "") -> pb.SampleStatsList:
        request = pb.ListRequest(device_id=device_id)
        return cast(pb.SampleStatsList, await self._connection.call(self._stub.SampleStats, request))

    async def delete_samples(self, id: str) -> pb.DeleteSamplesResponse:
        """Delete what a device returned, for good."""
        answer = await self._connection.call(self._stub.DeleteSamples, pb.GetRequest(id=id))
        return cast(pb.DeleteSamplesResponse, answer)


class Rollouts(Resource[pb.RolloutList, pb.Rollout, pb.RolloutEvent]):
    _stub_kind = operator_pb2_grpc.RolloutsStub

    async def start(
        self,
        models: Mapping[str, Digest],
        *,
        device_ids: Iterable[str] = (),
        skip_probation: bool = False,
        client_request_id: str = "",
    ) -> pb.Rollout:
        """Roll out a published model per device class ("*" for all), to every device of them or those named."""
        request = pb.StartRolloutRequest(
            models=[
                pb.ClassModel(device_class=device_class, model_sha256=sha256_of(digest))
                for device_class, digest in models.items()
            ],
            device_ids=device_ids,
            skip_probation=skip_probation,
            client_request_id=client_request_id or uuid.uuid4().hex,
        )
        return cast(pb.Rollout, await self._connection.call(self._stub.Start, request))

    async def rollback(self, id: str) -> pb.Rollout:
        """Stop a rollout and give every device it touched its previous model."""
        return cast(pb.Rollout, await self._connection.call(self._stub.Rollback, pb.GetRequest(id=id)))

    async def cancel(self, id: str) -> pb.Rollout:
        """Start no further device."""
        return cast(pb.Rollout, await self._connection.call(self._stub.Cancel, pb.GetRequest(id=id)))


class Policies(Resource[pb.PolicyList, pb.Policy, pb.PolicyEvent]):
    _stub_kind = operator_pb2_grpc.PoliciesStub

    async def apply(self, spec_yaml: str) -> pb.Policy:
        """Create or replace the RecompressionPolicy of that name."""
        request = pb.ApplyPolicyRequest(spec_yaml=spec_yaml)
        return cast(pb.Policy, await self._connection.call(self._stub.Apply, request))

    async def delete(self, name: str) -> pb.Policy:
        return cast(pb.Policy, await self._connection.call(self._stub.Delete, pb.GetRequest(id=name)))


class Decisions(Resource[pb.DecisionList, pb.Decision, pb.DecisionEvent]):
    _stub_kind = operator_pb2_grpc.DecisionsStub

    async def replay(self, id: str) -> pb.ReplayResponse:
        """Decide again on the stored evidence."""
        return cast(pb.ReplayResponse, await self._connection.call(self._stub.Replay, pb.GetRequest(id=id)))


class Telemetry:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def query(
        self,
        *,
        device_id: str = "",
        device_class: str = "",
        model_sha256: Digest = "",
        from_ms: int = 0,
        until_ms: int = 0,
    ) -> pb.TelemetrySummaryList:
        """Windows merged per device and model, the newest model first; `until_ms` 0 is now."""
        request = pb.TelemetryQuery(
            device_id=device_id,
            device_class=device_class,
            model_sha256=sha256_of(model_sha256),
            from_ms=from_ms,
            until_ms=until_ms,
        )
        stub = self._connection.stub(operator_pb2_grpc.TelemetryStub)
        return cast(pb.TelemetrySummaryList, await self._connection.call(stub.Query, request))

    def watch(self, *, from_revision: int = 0, id: str = "") -> AsyncIterator[pb.TelemetryEvent]:
        """Windows as they arrive, of one device or of all."""
        connection = self._connection
        return follow(connection, lambda: connection.stub(operator_pb2_grpc.TelemetryStub).Watch, from_revision, id)
