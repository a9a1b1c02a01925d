"""The client: one channel, and what can be asked for by kind."""

from __future__ import annotations

from pathlib import Path

from orchestrator.client.blobs import Blobs, Progress
from orchestrator.client.connection import Connection
from orchestrator.client.drivers import Drivers
from orchestrator.client.resources import Decisions, Devices, Jobs, Models, Policies, Rollouts, Telemetry
from orchestrator.working_dir import pack
from protos import operator_pb2 as pb


class Client:
    """Made anywhere, used within one event loop, closed by `close` or `async with`."""

    def __init__(self, address: str, *, patience_s: float = 60.0, connect_patience_s: float = 2.0) -> None:
        """
        Args:
            address: `host:port` of the operators' port.
            patience_s: how long a call goes on through a restart of a server that has answered before.
            connect_patience_s: how long it goes on where none has answered yet.
        """
        self._connection = Connection(address, patience_s=patience_s, connect_patience_s=connect_patience_s)
        self.jobs = Jobs(self._connection)
        self.models = Models(self._connection)
        self.devices = Devices(self._connection)
        self.rollouts = Rollouts(self._connection)
        self.policies = Policies(self._connection)
        self.decisions = Decisions(self._connection)
        self.telemetry = Telemetry(self._connection)
        self.blobs = Blobs(self._connection)
        self.drivers = Drivers(self._connection)

    async def submit_job(
        self,
        spec_yaml: str,
        working_dir: Path,
        *,
        client_request_id: str = "",
        on_progress: Progress | None = None,
    ) -> pb.Job:
        """Pack and upload a working directory, then start the job that uses it."""
        digest = await self.blobs.put(pack(working_dir).archive, on_progress=on_progress)
        return await self.jobs.submit(spec_yaml, working_dir_sha256=digest, client_request_id=client_request_id)

    async def close(self) -> None:
        await self._connection.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
