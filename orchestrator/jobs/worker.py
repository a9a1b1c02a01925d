"""What every task in a Ray worker starts from: a connection, threads, and networks by the digest of their weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from edge_agent.facts import cpu_model
from orchestrator.jobs.code_version import lineage_versions
from orchestrator.jobs.control_plane import Connection, ControlPlane
from orchestrator.jobs.orders import NetworkRef
from orchestrator.jobs.progress import StageReporter

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class TaskContext:
    """What a task is told besides its input; picklable."""

    connection: Connection
    report: StageReporter
    threads: int

    def control_plane(self) -> ControlPlane:
        return _control_plane(self.connection)

    def set_up(self) -> None:
        """A worker process is reused for tasks that may have more or fewer CPUs."""
        import torch  # the driver makes contexts too, and needs no torch

        torch.set_num_threads(self.threads)

    def made_on(self) -> dict[str, Any]:
        """What has to be the same for a result to be: fields of a MadeOn, as plain data."""
        return {"cpu_model": cpu_model(), "threads": self.threads, "versions": lineage_versions()}


def load_network(network: NetworkRef, control_plane: ControlPlane) -> nn.Module:
    """The float network in evaluation mode."""
    from orchestrator.compression.checkpoint import load_checkpoint, read_tensors
    from orchestrator.compression.prune.surgery import take_widths
    from orchestrator.jobs.user_code import build_network

    module = build_network(network.entrypoint, seed=0)
    checkpoint = control_plane.get_blob(network.checkpoint)
    if network.prune is not None:
        take_widths(module, read_tensors(checkpoint))
    load_checkpoint(module, checkpoint)
    return module.eval()


@lru_cache(maxsize=4)
def _control_plane(connection: Connection) -> ControlPlane:
    return ControlPlane(connection)
