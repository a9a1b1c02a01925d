"""Memory and idle CPU of a real agent process that serves a known network's model; needs neither ray nor torch.

A control plane in memory (this process) assigns the model to `espalier-agent run` (a process of its own). After some
requests the agent is left alone and measured from /proc. The last line is the result, for tests to read:

    agent VmRSS MiB: X RssAnon MiB: Y idle CPU %: Z
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from protos import inference_pb2 as pb
from tests.agents import Application, infer_request
from tests.kernels.networks import mobilenet_v2
from tests.models import BuiltModel, complete, resnet8
from tests.simulators import SimulatedControlPlane

WARM_REQUESTS = 200


@dataclass(frozen=True)
class Network:
    """What the agent serves; weights are random, which makes no difference to memory."""

    name: str
    shape: tuple[int, int, int]
    build: Callable[[], BuiltModel]


def mobilenet_v2_at_224() -> BuiltModel:
    graph = mobilenet_v2(224)
    blobs = {sha256.hex(): payload for sha256, payload in graph.blobs.items()}
    return complete(graph.message(), blobs, np.random.default_rng(0))


NETWORKS = {
    network.name: network
    for network in (
        Network("resnet8", (32, 32, 3), resnet8),
        Network("mobilenet-v2", (224, 224, 3), mobilenet_v2_at_224),
    )
}


async def measure(network: Network, idle_s: float) -> tuple[float, float, float]:
    """VmRSS and RssAnon in MiB after serving, and the share of one core in per cent while idle."""
    control_plane = SimulatedControlPlane(chunk_bytes=256 << 10, sync_after_s=15.0)
    await control_plane.start()
    control_plane.assign(control_plane.publish(network.build()), 1)
    with tempfile.TemporaryDirectory() as folder:
        socket = f"unix:{folder}/agent.sock"
        agent = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "edge_agent.main", "run"),
            *("--device-id", "footprint", "--state-dir", f"{folder}/state", "--listen", socket),
            *("--control-plane", control_plane.address, "--log-level", "WARNING", "--set", "telemetry.window_s=2"),
            env=os.environ | {"MALLOC_ARENA_MAX": "2"},
            cwd=Path(__file__).parents[1],
        )
        try:
            await control_plane.until_state("COMMITTED", 1)
            await serve_requests(socket, network)
            await control_plane.until(lambda: sum(window.labelled for window in control_plane.windows) == WARM_REQUESTS)
            before, begun = cpu_seconds(agent.pid), time.monotonic()
            await asyncio.sleep(idle_s)
            idle = 100 * (cpu_seconds(agent.pid) - before) / (time.monotonic() - begun)
            memory = memory_mib(agent.pid)
        finally:
            agent.terminate()
            await agent.wait()
            await control_plane.stop()
    return memory["VmRSS"], memory["RssAnon"], idle


async def serve_requests(address: str, network: Network) -> None:
    async with Application(address) as application:
        begun = time.monotonic()
        for i in range(WARM_REQUESTS):
            x = bytes([i % 256]) * math.prod(network.shape)
            request = infer_request(x, shape=(1, *network.shape), model=network.name)
            response = await application.call("ModelInfer", request, pb.ModelInferResponse)
            await application.label(response.id, 3)
        each_ms = (time.monotonic() - begun) / WARM_REQUESTS * 1000
    print(f"{WARM_REQUESTS} requests with their labels: {each_ms:.2f} ms each")


def memory_mib(pid: int) -> dict[str, float]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {
        name: int(rest.split()[0]) / 1024 for name, _, rest in (line.partition(":") for line in lines) if "kB" in rest
    }


def cpu_seconds(pid: int) -> float:
    """CPU time of all its threads, by the process's own clock: /proc/PID/stat counts in hundredths of a second."""
    return time.clock_gettime(~pid << 3 | 2)  # Linux's id of that clock, as clock_getcpuclockid(3) makes it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle-s", type=float, default=20.0, help="how long the agent is watched while idle")
    parser.add_argument("--network", choices=NETWORKS, default="resnet8", help="whose sizes the model has")
    args = parser.parse_args()
    rss, anon, idle = asyncio.run(measure(NETWORKS[args.network], args.idle_s))
    print(f"agent VmRSS MiB: {rss:.1f} RssAnon MiB: {anon:.1f} idle CPU %: {idle:.2f}")


if __name__ == "__main__":
    main()
