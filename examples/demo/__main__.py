"""Starts everything, tells the story, states what was measured, ends everything."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from examples.demo.cameras import CameraProcess, start_camera
from examples.demo.devices import DEVICES
from examples.demo.fleet import Fleet, WaitedTooLongError
from examples.demo.judgement import judge
from examples.demo.narrator import Narrator
from examples.demo.processes import ProcessDiedError, Processes, free_ports
from examples.demo.story import Story, StoryError
from orchestrator.client import Client
from orchestrator.datasets import DatasetError
from orchestrator.datasets.corruptions import Corruption
from orchestrator.datasets.fashion_mnist import load_field
from orchestrator.errors import OrchestratorError

CORRUPTION = "gaussian_noise:45"
IMAGES_PER_S = 20.0
START_TIMEOUT_S = 90.0
EXPECTED_ERRORS = (StoryError, WaitedTooLongError, ProcessDiedError, OrchestratorError, DatasetError)


async def run(folder: Path, narrator: Narrator) -> bool:
    """Whether every claim was measured."""
    narrator.chapter("Espalier: train, compress, measure, roll out, watch, repair")
    narrator.say("Looking for Fashion-MNIST (31 MB, fetched once)")
    await asyncio.to_thread(load_field)
    async with Processes(folder) as processes, _fleet(folder, processes, narrator) as (fleet, cameras):
        steps, strengths = zip(*(part.split(":") for part in CORRUPTION.split(",")), strict=True)
        condition = str(Corruption(tuple(zip(steps, map(float, strengths), strict=True))))
        story = Story(fleet, narrator, cameras, condition)
        await story.phase_one()
        await story.phase_two()
        narrator.chapter("What this run has shown")
        claims, measurements = await judge(story.record, fleet)
        narrator.console.print(measurements)
        for line in claims.lines():
            narrator.console.print(line)
    return claims.all_hold


@asynccontextmanager
async def _fleet(
    folder: Path, processes: Processes, narrator: Narrator
) -> AsyncIterator[tuple[Fleet, list[CameraProcess]]]:
    """Everything that runs: control plane with Ray, three agents, three applications."""
    agents, operators, http, *locals_ = [f"127.0.0.1:{port}" for port in free_ports(3 + len(DEVICES))]
    listens = ["--agents", agents, "--operators", operators, "--http", http, "--set", "fleet.min_sync_s=2"]
    up = [sys.executable, "-m", "orchestrator.cli.main", "up", "--data-dir", str(folder / "control-plane"), *listens]
    await processes.start("control-plane", up)
    cameras = []
    for index, (device, local) in enumerate(zip(DEVICES, locals_, strict=True)):
        config = device.config(folder, agents, local)
        await processes.start(device.id, [sys.executable, "-m", "edge_agent.main", "run", "--config", str(config)])
        cameras.append(
            await start_camera(
                processes,
                device=device.id,
                agent=local,
                share=f"{index}/{len(DEVICES)}",
                rate=IMAGES_PER_S,
                corruption=CORRUPTION,
            )
        )
    async with Client(operators) as client:
        fleet = Fleet(client, processes.check)
        await fleet.until_ready(START_TIMEOUT_S)
        narrator.say(f"Control plane and Ray run. Watch it live: http://{http}/", style="bold")

        async def everyone_called() -> bool:
            return len(await fleet.devices()) == len(DEVICES)

        await fleet.until(everyone_called, START_TIMEOUT_S, "the agents to call")
        for row in await fleet.devices():
            facts = row["facts"]
            limits = f"{facts['model_bytes_limit'] or 'any number of'} bytes, p95 {facts['latency_p95_limit_ms']:g} ms"
            narrator.say(f"{row['id']}: class {facts['device_class']}, engine {facts['engine_path']}, at most {limits}")
        yield fleet, cameras


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description="The whole loop on this machine.")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs and data there")
    options = parser.parse_args()
    folder = options.keep.resolve() if options.keep else Path(tempfile.mkdtemp(prefix="espalier-demo-"))
    narrator = Narrator()
    try:
        shown = asyncio.run(_until_interrupted(folder, narrator))
    except EXPECTED_ERRORS as error:
        narrator.say(f"The demo cannot go on: {error}", style="bold red")
        narrator.say(f"Logs are in {folder}")
        return 1
    except asyncio.CancelledError:
        narrator.say("Interrupted; everything that was started has been ended")
        return 130
    if not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    verdict = "every claim was measured in this run" if shown else "not every claim was shown"
    narrator.say(f"Done: {verdict}", style="bold green" if shown else "bold red")
    return 0 if shown else 1


async def _until_interrupted(folder: Path, narrator: Narrator) -> bool:
    task = asyncio.create_task(run(folder, narrator))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, task.cancel)
    return await task


if __name__ == "__main__":
    sys.exit(main())
