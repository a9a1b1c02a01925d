"""A job that searches while real agents measure and drivers die: what was made is not made again."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from orchestrator.records import JobState
from tests.agents import agent_config, running_agent
from tests.job_plane import JobPlane, spec

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

SEARCH = {
    "trials": 8,
    "budget": 600,
    "space": {"weightBits": [8, 4], "meanBits": [3.5], "macsFractions": [1.0, 0.6], "epochs": 1},
}


def searching(*targets: dict[str, object], seed: int = 7) -> str:
    return spec(candidates=[], search=SEARCH, targets=list(targets), seed=seed)


async def test_agents_of_every_class_fill_the_tables_and_confirm_the_front(plane: JobPlane, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        for name in ("gateway", "camera"):
            keys = {"device__id": f"{name}-1", "device__device_class": name}
            config = agent_config(tmp_path / name, plane.agents_address, **keys)
            await stack.enter_async_context(running_agent(config))
        gateway = {"deviceClass": "gateway", "accuracyDrop": 0.1}
        camera = {"deviceClass": "camera", "accuracyDrop": 0.2, "objective": "bytes"}
        job_id = await plane.submit(searching(gateway, camera))
        job = await plane.end_of(job_id)
    assert job.state is JobState.SUCCEEDED, plane.log(job_id)
    assert job.search is not None
    assert len({trial.name for trial in job.search.trials}) == len(job.search.trials) == 8
    for trial in job.search.trials:
        assert {entry.device_class for entry in trial.latencies} == {"gateway", "camera"}
    for candidate in job.candidates:
        assert {m.device_class for m in candidate.measurements} == {"gateway", "camera"}
        assert not any(m.on_control_plane for m in candidate.measurements)
        assert all(len(m.operator_p50_us) > 3 for m in candidate.measurements)
    chosen = {name: candidate for candidate in job.candidates for name in candidate.chosen_for}
    assert chosen["camera"].model_bytes <= chosen["gateway"].model_bytes


async def test_after_kill_9_in_the_middle_of_the_trials_none_is_made_twice(plane: JobPlane) -> None:
    job_id = await plane.submit(searching({"deviceClass": "camera", "accuracyFloor": 0.5}, seed=1))
    await plane.until_stage(job_id, "candidate", times=4)  # two of them are the anchors
    driver = plane.driver(job_id)
    assert driver is not None
    driver.signal(signal.SIGKILL)
    job = await plane.end_of(job_id)
    assert job.state is JobState.SUCCEEDED, plane.log(job_id)
    assert job.attempt == 2
    assert job.search is not None
    counts = Counter(await plane.stages(job_id))
    made = sum(not trial.stopped for trial in job.search.trials)
    assert counts["candidate"] == made == 8
    assert (counts["prune"], counts["divergence"]) == (1, 6)


async def test_limits_that_nothing_meets_end_with_the_nearest_points_and_pruned_networks_are_not_trained(
    plane: JobPlane,
) -> None:
    job_id = await plane.submit(searching({"deviceClass": "camera", "modelBytes": 100}))
    job = await plane.end_of(job_id)
    assert job.state is JobState.INFEASIBLE, plane.log(job_id)
    assert "nearest: " in job.message
    assert job.search is not None
    assert any("above 100" in trial.stopped for trial in job.search.trials if "m0.6" in trial.name)
    assert job.candidates
    assert all("above 100" in candidate.verdict for candidate in job.candidates)
