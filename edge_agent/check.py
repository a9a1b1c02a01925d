"""`espalier-agent check`: what this device is, which engine it would run, and whether the control plane answers."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_agent.client import ControlPlaneClient
from edge_agent.config import AgentConfig
from edge_agent.errors import ConfigError, RefusedError, TransientError
from edge_agent.facts import REFERENCE_WARNING, device_facts
from edge_agent.store import RESERVE_BYTES, free_bytes


@dataclass(frozen=True)
class Finding:
    name: str
    level: str
    """ok, warning or error."""
    message: str


def run_check(config: AgentConfig, *, as_json: bool) -> bool:
    """Print the findings; True unless one is an error."""
    findings = [
        _machine(config),
        _engine(config),
        _state_dir(config),
        asyncio.run(_control_plane(config)),
    ]
    passed = all(finding.level != "error" for finding in findings)
    if as_json:
        print(json.dumps({"passed": passed, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        for finding in findings:
            print(f"{finding.level.upper():8}{finding.name}: {finding.message}")
    for finding in findings:
        if finding.message == REFERENCE_WARNING:
            print(f"\n!!! {REFERENCE_WARNING}\n", file=sys.stderr)
    return passed


def _machine(config: AgentConfig) -> Finding:
    facts = device_facts(config, engine_path="", engine_paths=())
    return Finding(
        "machine",
        "ok",
        f"{facts.machine}, {facts.cpu_model or 'unknown CPU'}, {os.cpu_count()} cores, "
        f"Python {sys.version.split()[0]}, agent {facts.agent_version}, device {config.device.id} "
        f"of class {config.device.device_class}",
    )


def _engine(config: AgentConfig) -> Finding:
    from edge_agent.runtime import available_paths, choose_path

    try:
        path = choose_path(config.engine.path or None)
    except ConfigError as error:
        return Finding("engine", "error", str(error))
    if available_paths() == ("reference",):
        return Finding("engine", "warning", REFERENCE_WARNING)
    return Finding("engine", "ok", f"path {path}; available: {', '.join(available_paths())}")


def _state_dir(config: AgentConfig) -> Finding:
    directory = config.device.state_dir
    existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Finding("state", "error", f"cannot write to {existing}: {error.strerror}; set device.state_dir")
    free = free_bytes(existing)
    level = "ok" if free > 4 * RESERVE_BYTES else "warning"
    return Finding("state", level, f"{Path(directory).absolute()}, {free >> 20} MiB free")


async def _control_plane(config: AgentConfig) -> Finding:
    """Ask for no blob: that needs an answer of the service and changes nothing there."""
    client = ControlPlaneClient(config.control_plane, config.device.id)
    address = config.control_plane.address
    try:
        async with asyncio.timeout(5):
            async for _ in client.get_blobs([]):
                break
    except RefusedError as error:
        if error.code == "UNIMPLEMENTED":
            return Finding("control plane", "error", f"{address} answers, but offers no service for agents")
    except (TransientError, TimeoutError) as error:
        return Finding(
            "control plane", "warning", f"{address} does not answer ({error}); the agent would serve offline"
        )
    finally:
        await client.close()
    return Finding("control plane", "ok", f"{address} answers")
