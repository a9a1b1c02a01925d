"""The quick start of the README: `espalier up`, a job from Python, the page, and Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.demo.processes import free_ports

ROOT = Path(__file__).resolve().parents[2]
READY_TIMEOUT_S = 90.0


@dataclass
class Running:
    process: subprocess.Popen[str]
    operators: str
    agents: str
    http: str
    data_dir: Path

    def espalier(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "orchestrator.cli.main", *arguments, "--address", self.operators]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Running]:
    agents, operators, http = (f"127.0.0.1:{port}" for port in free_ports(3))
    data_dir = tmp_path / "data"
    listens = ["--agents", agents, "--operators", operators, "--http", http]
    command = [sys.executable, "-m", "orchestrator.cli.main", "up", "--data-dir", str(data_dir), "--format", "json"]
    process = subprocess.Popen(
        [*command, *listens],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    assert json.loads(line)["operators"] == operators
    yield Running(process, operators, agents, http, data_dir)
    process.stdout.close()
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_up_runs_a_job_from_python_shows_it_and_ends_cleanly(up: Running) -> None:
    submitted = subprocess.run(
        [sys.executable, "examples/submit_job.py", "--job", "digits", "--address", up.operators],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    job = json.loads(up.espalier("jobs", "list", "--format", "json").stdout)["jobs"][0]
    assert (job["name"], job["state"], job["progress"]) == ("digits", "succeeded", 1.0)
    models = json.loads(up.espalier("models", "list", "--format", "json").stdout)["models"]
    assert models[0]["sha256"] in {c["model_sha256"] for c in job["candidates"] if c["chosen_for"]}
    assert all(m["on_control_plane"] for c in job["candidates"] for m in c["measurements"]), "no device was there"
    with urllib.request.urlopen(f"http://{up.http}/healthz", timeout=10) as response:
        assert response.status == 200
    with urllib.request.urlopen(f"http://{up.http}/api/fleet", timeout=10) as response:
        assert [entry["id"] for entry in json.load(response)["jobs"]] == [job["id"]]
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(timeout=60) == 0
    assert left_behind(up.data_dir) == []


@pytest.mark.ray
def test_a_second_up_on_the_same_data_is_refused(up: Running) -> None:
    agents, operators, http = (f"127.0.0.1:{port}" for port in free_ports(3))
    command = [sys.executable, "-m", "orchestrator.cli.main", "up", "--data-dir", str(up.data_dir)]
    second = subprocess.run(
        [*command, "--agents", agents, "--operators", operators, "--http", http],
        cwd=ROOT, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert up.espalier("jobs", "list").returncode == 0, "the first goes on"


def left_behind(data_dir: Path) -> list[str]:
    """Command lines of processes that name the data directory, after a moment to end."""
    deadline = time.monotonic() + 10
    while found := list(_naming(str(data_dir))):
        if time.monotonic() > deadline:
            return found
        time.sleep(0.1)
    return []


def _naming(text: str) -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if text in command:
                    yield command
