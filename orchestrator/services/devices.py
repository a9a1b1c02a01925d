"""Devices, and the samples they returned, as operators see them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from orchestrator import convert
from orchestrator.records import Device, Event
from orchestrator.services.context import Context
from orchestrator.services.watching import checked_id, list_limit, watch
from orchestrator.store import Database, Session
from orchestrator.store.codec import decode
from protos import operator_pb2, operator_pb2_grpc


class DevicesService(operator_pb2_grpc.DevicesServicer):
    def __init__(self, database: Database, *, samples_retention_s: float) -> None:
        self._database = database
        self._retention_ms = int(samples_retention_s * 1000)

    async def List(self, request: operator_pb2.ListRequest, context: Context) -> operator_pb2.DeviceList:  # noqa: N802
        limit = list_limit(request)

        def read(session: Session) -> operator_pb2.DeviceList:
            devices = [convert.device(device) for device in session.devices.list(limit=limit)]
            return operator_pb2.DeviceList(devices=devices, revision=session.revision)

        return await self._database.read(read)

    async def Get(self, request: operator_pb2.GetRequest, context: Context) -> operator_pb2.Device:  # noqa: N802
        device_id = checked_id(request)
        return await self._database.read(lambda session: convert.device(session.devices.get(device_id)))

    async def Watch(  # noqa: N802
        self, request: operator_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[operator_pb2.DeviceEvent]:
        def render(_: Session, event: Event) -> list[operator_pb2.DeviceEvent]:
            device = convert.device(decode(Device, event.snapshot))
            return [operator_pb2.DeviceEvent(revision=event.revision, device=device)]

        async for message in watch(self._database, "device", request, context, render):
            yield message

    async def SampleStats(  # noqa: N802
        self, request: operator_pb2.ListRequest, context: Context
    ) -> operator_pb2.SampleStatsList:
        list_limit(request)
        stats = await self._database.read(lambda session: session.samples.stats(request.device_id))
        return operator_pb2.SampleStatsList(
            stats=[
                operator_pb2.SampleStats(
                    device_id=entry.device_id,
                    samples=entry.samples,
                    oldest_ms=entry.oldest_ms,
                    expires_at_ms=entry.oldest_ms + self._retention_ms,
                )
                for entry in stats
            ]
        )

    async def DeleteSamples(  # noqa: N802
        self, request: operator_pb2.GetRequest, context: Context
    ) -> operator_pb2.DeleteSamplesResponse:
        device_id = checked_id(request)

        def write(session: Session) -> int:
            session.devices.get(device_id)
            return session.samples.delete(device_id)

        return operator_pb2.DeleteSamplesResponse(deleted=await self._database.write(write))
