"""The quick start of the README: `espalier up`, a job from Python, the page, and Ctrl-C."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request

import pytest

from tests.embedded import ROOT, Embedded, left_behind


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_up_runs_a_job_from_python_shows_it_and_ends_cleanly(up: Embedded) -> None:
    submitted = subprocess.run(
        [sys.executable, "examples/submit_job.py", "--job", "digits", "--address", up.operators],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    (job,) = up.listed("jobs")
    assert (job["name"], job["state"], job["progress"]) == ("digits", "succeeded", 1.0)
    (model, *_) = up.listed("models")
    assert model["sha256"] in {c["model_sha256"] for c in job["candidates"] if c["chosen_for"]}
    assert all(m["on_control_plane"] for c in job["candidates"] for m in c["measurements"]), "no device was there"
    with urllib.request.urlopen(f"http://{up.http}/healthz", timeout=10) as response:
        assert response.status == 200
    with urllib.request.urlopen(f"http://{up.http}/api/fleet", timeout=10) as response:
        assert [entry["id"] for entry in json.load(response)["jobs"]] == [job["id"]]
    assert up.interrupt() == 0
    assert left_behind(str(up.data_dir)) == []


@pytest.mark.ray
def test_a_second_up_on_the_same_data_is_refused(up: Embedded) -> None:
    elsewhere = Embedded(up.data_dir)
    second = subprocess.run(elsewhere.command(), cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert second.returncode == 1
    assert up.espalier("jobs", "list").returncode == 0, "the first goes on"
