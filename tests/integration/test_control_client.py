"""The SDK against real servers: blobs, lists and watches, also across a restart."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.client import Client
from orchestrator.convert import blob_ref
from orchestrator.errors import (
    ConflictError,
    FencedError,
    InvalidRequestError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)
from orchestrator.records import Decision
from orchestrator.services.server import ControlServers
from tests.control_plane import RunningControlPlane, control_plane, records

JOB = (Path(__file__).parents[2] / "examples" / "digits" / "job.yaml").read_text()


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[RunningControlPlane]:
    async with control_plane(tmp_path) as running:
        yield running


async def test_a_blob_comes_back_as_it_was_put(plane: RunningControlPlane, tmp_path: Path) -> None:
    data = os.urandom(1_000_000)
    shares: list[float] = []
    digest = await plane.client.blobs.put(data, on_progress=shares.append)
    assert digest == hashlib.sha256(data).hexdigest()
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert await plane.client.blobs.get(digest) == data
    await plane.client.blobs.get_file(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data


async def test_an_empty_blob_is_a_blob(plane: RunningControlPlane) -> None:
    digest = await plane.client.blobs.put(b"")
    assert await plane.client.blobs.get(digest) == b""


async def test_an_upload_goes_on_from_where_it_stopped(plane: RunningControlPlane) -> None:
    data = os.urandom(700_000)
    digest = hashlib.sha256(data).hexdigest()
    upload = plane.blobs.begin(digest, len(data), 0)
    assert upload is not None
    with upload:
        upload.write(data[:300_000])
    assert (await plane.client.blobs.stat(digest)).received_bytes == 300_000
    shares: list[float] = []
    await plane.client.blobs.put(data, on_progress=shares.append)
    assert shares[0] > 300_000 / 700_000
    assert await plane.client.blobs.get(digest) == data


async def test_many_uploads_of_one_blob_at_once_all_succeed(plane: RunningControlPlane) -> None:
    data = os.urandom(600_000)
    digests = await asyncio.gather(*(plane.client.blobs.put(data) for _ in range(5)))
    assert set(digests) == {hashlib.sha256(data).hexdigest()}


async def test_a_missing_blob_and_one_too_large_are_typed_errors(plane: RunningControlPlane) -> None:
    with pytest.raises(NotFoundError):
        await plane.client.blobs.get("ab" * 32)
    digest = await plane.client.blobs.put(b"12345")
    with pytest.raises(TooLargeError):
        await plane.client.blobs.get(digest, size_limit=4)
    with pytest.raises(InvalidRequestError):
        await plane.client.blobs.get("not a digest")


async def test_a_submitted_job_is_listed_watched_and_cancelled(plane: RunningControlPlane, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "workload.py").write_text("print('hello')")
    before = await plane.client.jobs.list()
    job = await plane.client.submit_job(JOB, folder, client_request_id="once")
    again = await plane.client.submit_job(JOB, folder, client_request_id="once")
    assert again.id == job.id
    assert [entry.id for entry in (await plane.client.jobs.list()).jobs] == [job.id]
    assert (await plane.client.drivers.get_job(job.id)).spec_yaml == JOB
    await plane.client.jobs.cancel(job.id)
    states = []
    async for event in plane.client.jobs.watch(from_revision=before.revision, id=job.id):
        states.append(event.job.state)
        if len(states) == 2:
            break
    assert states == [1, 6]


async def test_a_job_that_cannot_be_is_refused_with_the_reason(plane: RunningControlPlane) -> None:
    with pytest.raises(InvalidRequestError, match="line"):
        await plane.client.jobs.submit(JOB.replace("modelName", "modellName"), working_dir_sha256="ab" * 32)
    with pytest.raises(ConflictError, match="put it first"):
        await plane.client.jobs.submit(JOB, working_dir_sha256="ab" * 32)


async def test_two_attempts_at_a_job_do_not_mix(plane: RunningControlPlane, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("")
    job = await plane.client.submit_job(JOB, tmp_path / "code")
    await plane.database.write(
        lambda session: session.jobs.put(dataclasses.replace(session.jobs.get(job.id), attempt=2))
    )
    assert not await plane.client.drivers.report_progress(job.id, attempt=2, stage="teacher", progress=0.5)
    with pytest.raises(FencedError):
        await plane.client.drivers.report_progress(job.id, attempt=1, stage="teacher", progress=0.6)
    finished = await plane.client.drivers.finish_job(job.id, attempt=2, state=5, message="planned")
    assert (finished.state, finished.message, finished.progress) == (5, "planned", 0.5)
    assert (await plane.client.drivers.finish_job(job.id, attempt=2, state=5)).message == "planned"
    with pytest.raises(ConflictError, match="ended"):
        await plane.client.drivers.finish_job(job.id, attempt=2, state=3)


async def test_a_stage_is_found_again_by_its_inputs_while_its_outputs_are_there(plane: RunningControlPlane) -> None:
    drivers = plane.client.drivers
    assert await drivers.get_stage("ab" * 32) is None
    with pytest.raises(ConflictError, match="put the blob first"):
        await drivers.put_stage("ab" * 32, name="teacher", job_id="j", outputs={"x": blob_ref("cd" * 32, 5)})
    digest = await plane.client.blobs.put(b"12345")
    first = await drivers.put_stage("ab" * 32, name="teacher", job_id="j", outputs={"x": blob_ref(digest, 5)})
    second = await drivers.put_stage("ab" * 32, name="teacher", job_id="k", outputs={})
    assert (second.job_id, second.outputs) == (first.job_id, first.outputs)
    found = await drivers.get_stage("ab" * 32)
    assert found is not None
    assert found.job_id == "j"


async def test_a_watch_survives_a_restart_of_the_server_without_loss(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        decided: list[str] = []
        revision = (await plane.client.decisions.list()).revision
        await plane.database.write(lambda session: session.decisions.put(_decision(0)))

        async def watch() -> None:
            async for event in plane.client.decisions.watch(from_revision=revision):
                decided.append(event.decision.id)
                if len(decided) == 6:
                    return

        watching = asyncio.create_task(watch())
        for number in range(1, 3):
            await plane.database.write(lambda session, n=number: session.decisions.put(_decision(n)))
        await plane.servers.stop(0.0)
        for number in range(3, 5):
            await plane.database.write(lambda session, n=number: session.decisions.put(_decision(n)))
        plane.servers = ControlServers(plane.database, plane.blobs, observe=lambda *_: None)
        await plane.servers.start("127.0.0.1:0", plane.operators_address)
        await plane.database.write(lambda session: session.decisions.put(_decision(5)))
        await asyncio.wait_for(watching, 15)
        assert decided == [f"d{n}" for n in range(6)]
        await plane.servers.stop(0.0)


async def test_calls_wait_for_a_server_that_restarts(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        await plane.client.jobs.list()
        await plane.servers.stop(0.0)
        asking = asyncio.create_task(plane.client.jobs.list())
        done, _ = await asyncio.wait([asking], timeout=0.3)
        assert not done
        plane.servers = ControlServers(plane.database, plane.blobs, observe=lambda *_: None)
        await plane.servers.start("127.0.0.1:0", plane.operators_address)
        await asyncio.wait_for(asking, 10)


async def test_a_server_that_never_answered_is_given_up_on_soon() -> None:
    async with Client("127.0.0.1:1", connect_patience_s=0.1) as client:
        with pytest.raises(UnavailableError):
            await client.jobs.list()


async def test_policies_are_applied_replaced_and_deleted(plane: RunningControlPlane) -> None:
    text = (
        "apiVersion: espalier/v1\nkind: RecompressionPolicy\nmetadata: {name: keep}\n"
        "spec: {modelName: m, triggers: {accuracy: {floor: 0.8}}}\n"
    )
    policy = await plane.client.policies.apply(text)
    assert policy.name == "keep"
    with pytest.raises(InvalidRequestError):
        await plane.client.policies.apply(text.replace("floor", "flor"))
    assert (await plane.client.policies.delete("keep")).deleted
    assert not (await plane.client.policies.list()).policies
    with pytest.raises(NotFoundError):
        await plane.client.policies.get("other")


async def test_telemetry_is_added_up_and_watched(plane: RunningControlPlane) -> None:
    revision = (await plane.client.jobs.list(limit=1)).revision
    async with plane.agent("cam-1") as agent:
        await agent.sync()
        await agent.push(records(1, 3, requests=10, labelled=4, labelled_correct=3))
        await agent.push(records(4, 1, model="newer"))
    answer = await plane.client.telemetry.query(device_id="cam-1")
    assert [summary.total.requests for summary in answer.summaries] == [1, 30]
    assert answer.summaries[1].total.labelled_correct == 9
    events = []
    async for event in plane.client.telemetry.watch(from_revision=revision, id="cam-1"):
        events.append(event)
        if len(events) == 4:
            break
    assert [event.window.requests for event in events] == [10, 10, 10, 1]
    assert len({event.revision for event in events}) == 2


def _decision(number: int) -> Decision:
    return Decision(
        id=f"d{number}",
        policy="p",
        device_id="cam-1",
        model_digest="ab" * 32,
        action="distill_again",
        reason="planned",
        evidence_json="{}",
        decided_at_ms=number,
    )
