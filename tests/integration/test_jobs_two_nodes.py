"""A job on a Ray cluster that others run: two nodes that share nothing but the network."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.records import JobState
from tests.job_plane import job_plane, spec
from tests.ray_nodes import two_nodes

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]


async def test_a_job_runs_on_two_nodes_that_share_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Submitted through Ray's Jobs API; the teacher's two workers have one CPU each, so each node must take part."""
    with two_nodes(tmp_path) as nodes:
        for name, value in nodes.environment.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "plane").mkdir()
        async with job_plane(tmp_path / "plane", ray_address=nodes.jobs_api) as plane:
            job_id = await plane.submit(spec(teacher={"entrypoint": "workload:teacher_that_was_here", "workers": 2}))
            job = await plane.end_of(job_id)
            assert job.state is JobState.SUCCEEDED, f"{job.message}\n{plane.log(job_id)}"
            assert job.attempt == 1
            assert all((home / "was-here").exists() for home in nodes.homes)
            assert not (tmp_path / "plane" / "ray").exists()  # nothing of ours was started
            assert "teacher epoch 3" in await plane.stages(job_id)
