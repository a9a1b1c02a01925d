"""What this device is, as the control plane and its operator are told."""

from __future__ import annotations

import os
from pathlib import Path

from edge_agent import __version__
from edge_agent.config import AgentConfig
from protos import fleet_pb2 as pb

REFERENCE_WARNING = (
    "only the numpy reference is available: models run correctly but SLOWLY, and the agent needs more memory. "
    "Install a C++ compiler and reinstall the package, or install a wheel built for this machine."
)


def device_facts(config: AgentConfig, *, engine_path: str, engine_paths: tuple[str, ...]) -> pb.DeviceFacts:
    return pb.DeviceFacts(
        device_class=config.device.device_class,
        agent_version=__version__,
        engine_path=engine_path,
        engine_paths=engine_paths,
        model_bytes_limit=config.limits.model_bytes,
        ram_bytes_limit=config.limits.ram_bytes,
        latency_p95_limit_ms=config.limits.latency_p95_ms,
        machine=os.uname().machine,
        cpu_model=cpu_model(),
    )


def cpu_model() -> str:
    """As the system names it; empty where it does not."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()[:128]
    except OSError:
        pass
    return ""
