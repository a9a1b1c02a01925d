"""An agent that is killed, at any of its named crash points and at random, comes back to where it has to be.

After each kill the agent is started again. The update must complete, the device must serve a verified model, and
telemetry must be complete and counted once: the simulated control plane asserts that no record comes twice.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from edge_agent.crashpoints import POINTS
from edge_agent.journal import Journal
from edge_agent.life import State
from edge_agent.state import CRASH_LIMIT
from protos import fleet_pb2 as pb
from tests.agent_process import start_agent, stop_agent
from tests.agents import Application
from tests.models import linear_model
from tests.simulators import SimulatedControlPlane

TERMS = pb.Probation(timeout_s=60, max_error_rate=1.0, guard_min_requests=1000)


@pytest.fixture
async def control_plane():
    simulated = SimulatedControlPlane(chunk_bytes=128, sync_after_s=0.3)
    await simulated.start()
    yield simulated
    await simulated.stop()


def arguments(folder: Path, address: str) -> list[str]:
    return [
        "run",
        *("--device-id", "camera-1", "--state-dir", f"{folder}/state", "--listen", f"unix:{folder}/agent.sock"),
        *("--control-plane", address, "--log-level", "WARNING"),
        *("--set", "telemetry.window_s=0.1", "--set", "control_plane.backoff_initial_s=0.05"),
        *("--set", "control_plane.backoff_cap_s=0.2", "--set", "control_plane.report_interval_s=0.05"),
    ]


async def drive(control_plane: SimulatedControlPlane, address: str) -> None:
    """An update as an operator and an application see it: a first model, a second on probation, the verdict."""
    first, second = control_plane.publish(linear_model()), control_plane.publish(linear_model(1))
    if control_plane.assignment is None:
        control_plane.assign(first, 1)
    async with Application(address) as application:
        await control_plane.until_state("COMMITTED", 1)
        if control_plane.assignment.generation == 1:
            control_plane.assign(second, 2, probation=TERMS)
        while control_plane.committed_generation < 2:
            await answered(application)
            totals = [r.pairs.pairs for r in control_plane.reports if r.generation == 2]
            if max(totals, default=0) >= 5:
                control_plane.commit(2)
            await asyncio.sleep(0.01)
        await control_plane.until_state("COMMITTED", 2)
        assert (await application.infer()).model_version == second.digest


async def answered(application: Application) -> None:
    response = await application.infer()
    await application.label(response.id, 1)


@pytest.mark.parametrize("point", POINTS)
async def test_a_kill_at_a_crash_point_is_survived(control_plane, tmp_path, point):
    options = arguments(tmp_path, control_plane.address)
    address = f"unix:{tmp_path}/agent.sock"
    agent = await start_agent(*options, crash_at=point, after=1 if point.startswith("journal") else 0)
    driving = asyncio.create_task(drive(control_plane, address))
    await asyncio.wait_for(agent.wait(), 20)
    assert agent.returncode == -9, (await agent.communicate())[1].decode()
    driving.cancel()
    await asyncio.gather(driving, return_exceptions=True)

    agent = await start_agent(*options)
    try:
        await asyncio.wait_for(drive(control_plane, address), 20)
        known = len(control_plane.windows)
        await control_plane.until(lambda: len(control_plane.windows) > known)
    finally:
        _, complaints = await stop_agent(agent)
    assert "Traceback" not in complaints
    assert agent.returncode == 0
    assert sorted(control_plane.telemetry) == list(range(1, len(control_plane.telemetry) + 1))
    assert Journal(tmp_path / "state").read().life.state is State.COMMITTED


@pytest.mark.slow
async def test_an_agent_killed_again_and_again_still_completes_and_always_serves(control_plane, tmp_path):
    """Kills at random moments; between them the agent always answers, once it ever had a model."""
    rng = random.Random(11)
    options = arguments(tmp_path, control_plane.address)
    control_plane.assign(control_plane.publish(linear_model()), 1)
    for generation in range(2, 12):
        agent = await start_agent(*options)
        async with Application(f"unix:{tmp_path}/agent.sock") as application:
            await control_plane.until(lambda: [s for s in control_plane.states() if s == "COMMITTED"])
            await application.infer()
            control_plane.assign(control_plane.publish(linear_model(generation % 3)), generation)
            await asyncio.sleep(rng.uniform(0, 0.15))
            agent.kill()
            await agent.wait()
    agent = await start_agent(*options)
    try:
        await control_plane.until_state("COMMITTED", 11)
        async with Application(f"unix:{tmp_path}/agent.sock") as application:
            assert (await application.infer()).model_version == linear_model(11 % 3).ref.digest
    finally:
        await stop_agent(agent)
    assert sorted(control_plane.telemetry) == list(range(1, len(control_plane.telemetry) + 1))


async def test_a_model_that_kills_the_agent_on_probation_is_rolled_back(control_plane, tmp_path):
    options = arguments(tmp_path, control_plane.address)
    old = control_plane.publish(linear_model())
    control_plane.assign(old, 1)
    agent = await start_agent(*options)
    await control_plane.until_state("COMMITTED", 1)
    control_plane.assign(control_plane.publish(linear_model(1)), 2, probation=TERMS)
    await control_plane.until_state("PROBATION", 2)
    for _ in range(CRASH_LIMIT):
        agent.kill()
        await agent.wait()
        seen = len(control_plane.syncs)
        agent = await start_agent(*options)
        await control_plane.until(lambda seen=seen: len(control_plane.syncs) > seen)
    report = await control_plane.until_state("ROLLED_BACK", 2)
    assert f"ended unexpectedly {CRASH_LIMIT} times" in report.detail
    async with Application(f"unix:{tmp_path}/agent.sock") as application:
        assert (await application.infer()).model_version == old.digest
    await stop_agent(agent)


async def test_two_agents_never_share_a_state_folder(control_plane, tmp_path):
    control_plane.assign(control_plane.publish(linear_model()), 1)
    options = arguments(tmp_path, control_plane.address)
    first = await start_agent(*options)
    await control_plane.until_state("COMMITTED", 1)
    second = await start_agent(*options)
    _, complaint = await asyncio.wait_for(second.communicate(), 20)
    assert second.returncode == 3
    assert b"another agent uses" in complaint
    await stop_agent(first)


async def test_an_address_in_use_is_an_error_that_says_so(control_plane, tmp_path):
    second = await start_agent(*arguments(tmp_path, control_plane.address), "--listen", control_plane.address)
    _, complaint = await asyncio.wait_for(second.communicate(), 20)
    assert second.returncode == 3
    assert b"is another agent running there?" in complaint
    assert b"Traceback" not in complaint


async def test_numpy_is_not_imported_while_the_engine_serves(control_plane, tmp_path):
    control_plane.assign(control_plane.publish(linear_model()), 1)
    agent = await start_agent(*arguments(tmp_path, control_plane.address))
    async with Application(f"unix:{tmp_path}/agent.sock") as application:
        await control_plane.until_state("COMMITTED", 1)
        await answered(application)
    said, _ = await stop_agent(agent)
    imported = said.partition("imported: ")[2].split()
    assert "grpc" in imported
    assert control_plane.syncs[-1].facts.engine_path != "reference"
    assert not {"numpy", "torch", "ray", "click", "orchestrator"} & set(imported)


async def test_an_agent_told_to_stop_leaves_a_clean_journal(control_plane, tmp_path):
    control_plane.assign(control_plane.publish(linear_model()), 1)
    agent = await start_agent(*arguments(tmp_path, control_plane.address))
    await control_plane.until_state("COMMITTED", 1)
    await stop_agent(agent)
    assert agent.returncode == 0
    assert Journal(tmp_path / "state").read().was_clean
