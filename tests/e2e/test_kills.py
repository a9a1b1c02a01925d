"""kill -9 in the middle of a job and of a rollout, and everything started again: nothing is lost, all of it ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded import ROOT, Embedded, left_behind, poll


class AgentProcess:
    """`espalier-agent run` with a state folder that outlives it."""

    def __init__(self, folder: Path, control_plane: str) -> None:
        self._folder = folder
        self._control_plane = control_plane
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--device-id", "camera-1", "--state-dir", str(self._folder), "--control-plane", self._control_plane]
        self._folder.mkdir(exist_ok=True)
        with (self._folder / "agent.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edge_agent.main", "run", *options, "--listen", "127.0.0.1:0"],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=10)


@pytest.fixture
def agent(tmp_path: Path, up: Embedded) -> Iterator[AgentProcess]:
    process = AgentProcess(tmp_path / "agent", up.agents)
    process.start()
    yield process
    process.kill()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(400)
def test_a_job_and_its_rollout_end_though_every_process_is_killed_on_the_way(up: Embedded, agent: AgentProcess) -> None:
    submitted = up.espalier("submit", "examples/digits/job.yaml", "--working-dir", "examples/digits")
    assert submitted.returncode == 0, submitted.stderr
    poll(lambda: up.listed("jobs")[0]["stage"] == "teacher", timeout_s=90, what="the teacher to be trained")

    up.kill()
    agent.kill()
    up.start()
    agent.start()

    def rollout_id() -> str:
        job = up.listed("jobs")[0]
        assert job["state"] in ("queued", "running", "succeeded"), job["message"]
        return str(job["rollout_id"])

    rollout = poll(rollout_id, timeout_s=240, what="the job to succeed and its rollout to start")
    agent.kill()
    up.kill()
    up.start()
    agent.start()
    poll(lambda: up.listed("rollouts")[0]["state"] == "succeeded", timeout_s=90, what=f"rollout {rollout} to succeed")
    (job,) = up.listed("jobs")
    (device,) = up.listed("devices")
    chosen = {candidate["model_sha256"] for candidate in job["candidates"] if candidate["chosen_for"]}
    assert device["running_model_sha256"] in chosen
    assert device["action_state"] == "committed"
    keys = [stage["key_sha256"] for stage in job["stages"]]
    assert len(keys) == len(set(keys)), "no stage was run twice"
    assert up.interrupt() == 0
    assert left_behind(str(up.data_dir)) == []
