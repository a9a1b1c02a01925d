"""The command line as a script uses it: real processes against a real control plane; results, errors and exit codes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.exit_codes import ExitCode
from orchestrator.records import Candidate, Decision, JobState, Measurement, PublishedModel, Search, Trial
from orchestrator.store import Session
from protos import model_pb2
from tests.control_plane import RunningControlPlane, control_plane, digest_of, records

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples" / "digits"
POLICY = ROOT / "examples" / "fashion_mnist" / "policy.yaml"


@dataclass
class Ran:
    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        return json.loads(self.stdout)


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[RunningControlPlane]:
    async with control_plane(tmp_path) as running:
        yield running


async def espalier(plane: RunningControlPlane | None, *arguments: str, **environment: str) -> Ran:
    address = {"ESPALIER_ADDRESS": plane.operators_address} if plane else {}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator.cli.main", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "ESPALIER_HOME": "/nonexistent", "COLUMNS": "160", **address, **environment},
    )
    stdout, stderr = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return Ran(process.returncode, stdout.decode(), stderr.decode())


async def submit(plane: RunningControlPlane) -> dict[str, Any]:
    ran = await espalier(
        plane, "submit", str(DIGITS / "job.yaml"), "--working-dir", str(DIGITS), "--format", "json", "--request-id", "x"
    )
    assert ran.code == ExitCode.OK, ran.stderr
    job: dict[str, Any] = ran.document
    return job


async def test_a_submitted_job_is_listed_shown_and_cancelled(plane: RunningControlPlane) -> None:
    job = await submit(plane)
    assert (job["name"], job["state"]) == ("digits", "queued")
    assert (await submit(plane))["id"] == job["id"], "the same request is the same job"
    listed = (await espalier(plane, "jobs", "list", "--format", "json")).document
    assert [entry["id"] for entry in listed["jobs"]] == [job["id"]]
    assert listed["revision"] > 0
    for_people = await espalier(plane, "jobs", "list")
    assert job["id"] in for_people.stdout
    assert "queued" in for_people.stdout
    shown = await espalier(plane, "jobs", "show", job["id"][:8])
    assert "digits" in shown.stdout
    cancelled = (await espalier(plane, "jobs", "cancel", job["id"], "--format", "json")).document
    assert cancelled["state"] == "cancelled"


async def test_watching_a_job_ends_with_it_and_says_by_the_exit_code_how(plane: RunningControlPlane) -> None:
    job_id = (await submit(plane))["id"]
    watching = asyncio.create_task(espalier(plane, "jobs", "watch", job_id, "--format", "json"))
    await plane.database.write(
        lambda session: session.jobs.put(
            dataclasses.replace(session.jobs.get(job_id), state=JobState.FAILED, message="as planned")
        )
    )
    ran = await watching
    assert ran.code == ExitCode.UNSUCCESSFUL
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert lines[-1]["job"]["state"] == "failed"
    error = json.loads(ran.stderr.splitlines()[-1])
    assert error["exit_code"] == ExitCode.UNSUCCESSFUL
    assert "as planned" in error["error"]


async def test_a_wrong_document_is_refused_with_line_key_and_suggestion(
    plane: RunningControlPlane, tmp_path: Path
) -> None:
    wrong = tmp_path / "job.yaml"
    wrong.write_text((DIGITS / "job.yaml").read_text().replace("modelName", "modellName"))
    ran = await espalier(plane, "submit", str(wrong), "--working-dir", str(DIGITS))
    assert ran.code == ExitCode.REFUSED
    assert "modellName" in ran.stderr
    assert "modelName" in ran.stderr
    assert "line" in ran.stderr


async def test_policies_are_applied_shown_and_deleted(plane: RunningControlPlane) -> None:
    applied = await espalier(plane, "policies", "apply", str(POLICY), "--format", "json")
    assert applied.document["name"] == "keep-accurate"
    assert "keep-accurate" in (await espalier(plane, "policies", "list")).stdout
    assert (await espalier(plane, "policies", "delete", "keep-accurate")).code == ExitCode.OK
    assert "no policies" in (await espalier(plane, "policies", "list")).stderr


async def test_devices_telemetry_and_samples(plane: RunningControlPlane) -> None:
    async with plane.agent("porch") as agent:
        await agent.sync(device_class="camera")
        await agent.push(records(1, 3, requests=10, labelled=4, labelled_correct=3))
    devices = (await espalier(plane, "devices", "list", "--format", "json")).document["devices"]
    assert [(d["id"], d["facts"]["device_class"]) for d in devices] == [("porch", "camera")]
    assert "camera" in (await espalier(plane, "devices", "show", "porch")).stdout
    summary = (await espalier(plane, "telemetry", "show", "--format", "json")).document["summaries"][0]
    assert summary["total"]["requests"] == 30
    assert summary["model_sha256"] == digest_of("model").hex()
    assert "75.0 %" in (await espalier(plane, "telemetry", "show", "--since", "10m")).stdout
    deleted = await espalier(plane, "devices", "samples", "delete", "porch", "--yes", "--format", "json")
    assert deleted.document == {"device_id": "porch", "deleted": 0}
    unconfirmed = await espalier(plane, "devices", "samples", "delete", "porch", "--format", "json")
    assert unconfirmed.code == ExitCode.USAGE


async def test_models_rollouts_and_decisions(plane: RunningControlPlane) -> None:
    digest = digest_of("model").hex()
    model = PublishedModel(
        digest=digest, name="fashion", size_bytes=4000, file_bytes=1000, published_at_ms=1, job_id="job-1"
    )
    decision = Decision(
        id="decision-1", policy="p", device_id="porch", model_digest=digest, action="distill_again",
        reason="accuracy 50 % is below 75 %", evidence_json='{"labelled": 300}', decided_at_ms=1,
    )  # fmt: skip
    text = "if ash <= 2.3: red (support 0.400, confidence 0.970)"
    rules = model_pb2.RuleSet(text=text, rules=2, trees=1, fidelity=0.961, table_bytes=180, in_front_of_network=True)
    statement = model_pb2.Statement(model_sha256=bytes.fromhex(digest), rules=rules).SerializeToString()
    await plane.database.write(lambda session: session.models.put(model))
    await plane.database.write(lambda session: session.models.put_statement(digest_of("s").hex(), digest, statement))
    await plane.database.write(lambda session: session.decisions.put(decision))
    async with plane.agent("porch") as agent:
        await agent.sync(device_class="camera")
    shown_model = (await espalier(plane, "models", "show", digest[:8])).stdout
    assert "fashion" in shown_model
    assert text in shown_model
    assert "as the network on 96.1 % of held-out samples; answer" in shown_model
    shown = (await espalier(plane, "decisions", "show", "decision-1", "--format", "json")).document
    assert shown["evidence"] == {"labelled": 300}
    assert "below 75 %" in (await espalier(plane, "decisions", "list")).stdout
    started = await espalier(plane, "rollouts", "start", digest[:8], "--format", "json")
    assert started.code == ExitCode.OK, started.stderr
    assert started.document["state"] == "running"
    rolled_back = await espalier(plane, "rollouts", "rollback", started.document["id"], "--format", "json")
    assert rolled_back.code == ExitCode.OK, rolled_back.stderr


async def test_the_front_of_a_job_is_printed_written_as_json_and_drawn(
    plane: RunningControlPlane, tmp_path: Path
) -> None:
    job_id = (await submit(plane))["id"]
    early = await espalier(plane, "models", "pareto", job_id)
    assert early.code == ExitCode.UNSUCCESSFUL
    assert "no measured candidates yet" in early.stderr

    def measured(p95_us: float) -> tuple[Measurement, ...]:
        return (
            Measurement(
                device_class="camera",
                engine_path="avx2",
                latency_p50_us=p95_us,
                latency_p95_us=p95_us,
                runs=9,
                peak_ram_bytes=5,
            ),
        )

    candidates = tuple(
        Candidate(name=name, model_digest="", accuracy=accuracy, model_bytes=9, peak_ram_bytes=5, verdict="too slow",
                  measurements=measured(p95_us))
        for name, accuracy, p95_us in (("wide", 0.9, 900.0), ("narrow", 0.8, 300.0), ("beaten", 0.7, 400.0))
    )  # fmt: skip
    search = Search(trials_wanted=9, ended="9 trials were made", trials=(Trial(name="wide", on_front=True),))

    def finish(session: Session) -> None:
        job = session.jobs.get(job_id)
        session.jobs.put(
            dataclasses.replace(job, state=JobState.INFEASIBLE, candidates=candidates, search=search, message="no")
        )

    await plane.database.write(finish)
    picture = tmp_path / "front.svg"
    shown = await espalier(plane, "models", "pareto", job_id, "--picture", str(picture))
    assert shown.code == ExitCode.OK, shown.stderr
    assert "too slow" in shown.stdout  # what blocks each of the nearest points
    assert "1 of at most 9 trials, 1 on the front" in shown.stdout
    assert picture.read_text().count("<circle") == 3
    document = (await espalier(plane, "models", "pareto", job_id, "--format", "json")).document
    (row,) = document["classes"]
    assert [point["candidate"] for point in row["front"]] == ["wide", "narrow"]
    assert [point["candidate"] for point in row["dominated"]] == ["beaten"]
    wrong = await espalier(plane, "models", "pareto", job_id, "--picture", str(tmp_path / "front.png"))
    assert wrong.code == ExitCode.USAGE
    assert "ends in .svg" in wrong.stderr


async def test_what_is_not_there_is_exit_code_four(plane: RunningControlPlane) -> None:
    for words in (("jobs", "show", "nothing"), ("models", "show", "abcd"), ("decisions", "replay", "none")):
        ran = await espalier(plane, *words)
        assert ran.code == ExitCode.NOT_FOUND, words
        assert "list" in ran.stderr


async def test_an_address_where_nobody_answers_says_to_run_up() -> None:
    ran = await espalier(None, "jobs", "list", "--address", "127.0.0.1:1", "--format", "json")
    assert ran.code == ExitCode.UNREACHABLE
    assert "espalier up" in json.loads(ran.stderr)["error"]
    assert ran.stdout == ""


async def test_profiles_name_control_planes(plane: RunningControlPlane, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f'[profiles.lab]\naddress = "{plane.operators_address}"\n')
    home = {"ESPALIER_HOME": str(tmp_path), "ESPALIER_ADDRESS": ""}
    assert (await espalier(None, "jobs", "list", "--profile", "lab", **home)).code == ExitCode.OK
    wrong = await espalier(None, "jobs", "list", "--profile", "lap", **home)
    assert wrong.code == ExitCode.ENVIRONMENT
    assert "'lab'" in wrong.stderr


async def test_a_command_line_that_is_wrong_is_exit_code_two() -> None:
    assert (await espalier(None, "jobs", "list", "--limit", "none")).code == ExitCode.USAGE
    assert (await espalier(None, "telemetry", "show", "--since", "soon")).code == ExitCode.USAGE
