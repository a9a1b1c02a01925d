"""Memory and idle CPU of a real agent process that serves a known network's model; needs neither ray nor torch.

A control plane in memory (this process) assigns the model to `espalier-agent run` (a process of its own). After some
requests the agent is left alone and measured from /proc. The last lines are the result, for tests to read:

    Python that wakes as often, idle CPU %: W
    agent VmRSS MiB: X RssAnon MiB: Y idle CPU %: Z

W is of a bare interpreter that parses arguments and JSON once for each of the agent's windows, which takes a
millisecond while caches are warm. Where other machines share them they are cold after every pause, and the same work
takes up to thirty times as long: then Z says as much about the machine as about the agent.
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
WINDOW_S = 2
BARE_PYTHON = f"""
import argparse, json, time
while True:
    time.sleep({WINDOW_S})
    parser = argparse.ArgumentParser()
    for i in range(30):
        parser.add_argument(f"--option-{{i}}", type=int)
    parser.parse_args([]), parser.format_help(), json.loads(json.dumps({{i: [i] * 5 for i in range(200)}}))
"""


@dataclass(frozen=True)
class Footprint:
    """MiB, and per cent of a core."""

    rss: float
    anon: float
    idle: float
    idle_of_bare_python: float


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


async def measure(network: Network, idle_s: float) -> Footprint:
    """Memory after serving, CPU while idle."""
    control_plane = SimulatedControlPlane(chunk_bytes=256 << 10, sync_after_s=15.0)
    await control_plane.start()
    control_plane.assign(control_plane.publish(network.build()), 1)
    with tempfile.TemporaryDirectory() as folder:
        socket = f"unix:{folder}/agent.sock"
        agent = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "edge_agent.main", "run"),
            *("--device-id", "footprint", "--state-dir", f"{folder}/state", "--listen", socket),
            *(
                "--control-plane",
                control_plane.address,
                "--log-level",
                "WARNING",
                "--set",
                f"telemetry.window_s={WINDOW_S}",
            ),
            env=os.environ | {"MALLOC_ARENA_MAX": "2"},
            cwd=Path(__file__).parents[1],
        )
        bare = await asyncio.create_subprocess_exec(sys.executable, "-c", BARE_PYTHON)
        try:
            await control_plane.until_state("COMMITTED", 1)
            await serve_requests(socket, network)
            await control_plane.until(lambda: sum(window.labelled for window in control_plane.windows) == WARM_REQUESTS)
            before, begun = [cpu_seconds(process.pid) for process in (agent, bare)], time.monotonic()
            await asyncio.sleep(idle_s)
            spent = [cpu_seconds(process.pid) - then for process, then in zip((agent, bare), before, strict=True)]
            idle, of_bare_python = (100 * seconds / (time.monotonic() - begun) for seconds in spent)
            memory = memory_mib(agent.pid)
        finally:
            for process in (agent, bare):
                process.terminate()
                await process.wait()
            await control_plane.stop()
    return Footprint(memory["VmRSS"], memory["RssAnon"], idle, of_bare_python)


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
    found = asyncio.run(measure(NETWORKS[args.network], args.idle_s))
    print(f"Python that wakes as often, idle CPU %: {found.idle_of_bare_python:.2f}")
    print(f"agent VmRSS MiB: {found.rss:.1f} RssAnon MiB: {found.anon:.1f} idle CPU %: {found.idle:.2f}")


if __name__ == "__main__":
    main()
