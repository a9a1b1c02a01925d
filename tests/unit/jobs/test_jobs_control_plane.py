"""The blocking view that drivers and workers have of a real control plane."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.errors import FencedError, NotFoundError, TooLargeError, UnavailableError
from orchestrator.jobs.control_plane import Connection, ControlPlane
from orchestrator.jobs.stages import StageInputs, StageOutput, run_stage
from orchestrator.records import Job, JobState
from protos import fleet_pb2, operator_pb2
from tests.control_plane import RunningControlPlane, control_plane

INPUTS = StageInputs(name="student", code="c", versions={})


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[RunningControlPlane]:
    async with control_plane(tmp_path) as running:
        job = Job(
            id="job-1",
            name="digits",
            spec_yaml="",
            working_dir_digest="00" * 32,
            state=JobState.RUNNING,
            attempt=2,
            sample_device_ids=("camera-1",),
        )
        await running.database.write(lambda session: session.jobs.put(job))
        yield running


def driver_of(plane: RunningControlPlane, *, attempt: int = 2) -> ControlPlane:
    return ControlPlane(Connection(address=plane.operators_address, job_id="job-1", attempt=attempt, patience_s=5.0))


async def test_a_blob_comes_back_as_it_was_put_and_is_sent_once(plane: RunningControlPlane) -> None:
    driver, content = driver_of(plane), os.urandom(3_000_000)
    blob = await asyncio.to_thread(driver.put_blob, content)
    assert blob.digest == hashlib.sha256(content).hexdigest()
    assert await asyncio.to_thread(driver.put_blob, content) == blob
    assert await asyncio.to_thread(driver.get_blob, blob.digest) == content
    assert await asyncio.to_thread(driver.find_blob, blob.digest) == blob
    assert await asyncio.to_thread(driver.find_blob, "ab" * 32) is None
    driver.close()


async def test_a_blob_that_is_missing_or_too_large_is_a_typed_error(plane: RunningControlPlane) -> None:
    driver = driver_of(plane)
    with pytest.raises(NotFoundError):
        await asyncio.to_thread(driver.get_blob, "ab" * 32)
    blob = await asyncio.to_thread(driver.put_blob, bytes(100))
    with pytest.raises(TooLargeError):
        await asyncio.to_thread(lambda: driver.get_blob(blob.digest, limit_bytes=99))
    driver.close()


async def test_a_stage_is_run_once_by_two_attempts(plane: RunningControlPlane) -> None:
    runs = []

    def drive(attempt: int) -> StageOutput:
        driver = driver_of(plane, attempt=attempt)

        def run() -> StageOutput:
            runs.append(attempt)
            return StageOutput(blobs={"checkpoint": driver.put_blob(b"weights")}, metrics={"accuracy": 0.5})

        try:
            return run_stage(driver, INPUTS, run)
        finally:
            driver.close()

    first = await asyncio.to_thread(drive, 2)
    second = await asyncio.to_thread(drive, 3)
    assert first == second
    assert runs == [2]


async def test_words_longer_than_the_control_plane_takes_are_cut(plane: RunningControlPlane) -> None:
    driver, words = driver_of(plane), "int8: could not be made; " * 1000
    await asyncio.to_thread(lambda: driver.report(stage="choose", progress=0.9, message=words))
    await asyncio.to_thread(lambda: driver.finish(operator_pb2.JOB_INFEASIBLE, words))
    job = await plane.database.read(lambda session: session.jobs.get("job-1"))
    assert (job.state, words.startswith(job.message)) == (JobState.INFEASIBLE, True)
    driver.close()


async def test_an_older_attempt_is_told_to_stop(plane: RunningControlPlane) -> None:
    older = driver_of(plane, attempt=1)
    with pytest.raises(FencedError):
        await asyncio.to_thread(lambda: older.report(stage="teacher", progress=0.1))
    with pytest.raises(FencedError):
        await asyncio.to_thread(lambda: older.finish(operator_pb2.JOB_FAILED, "too late"))
    older.close()


async def test_the_driver_of_a_job_that_has_ended_or_never_was_is_told_to_stop(plane: RunningControlPlane) -> None:
    driver = driver_of(plane)
    await asyncio.to_thread(lambda: driver.finish(operator_pb2.JOB_CANCELLED, "enough"))
    with pytest.raises(FencedError):
        await asyncio.to_thread(lambda: driver.report(stage="teacher", progress=0.1))
    driver.close()
    stranger = ControlPlane(Connection(address=plane.operators_address, job_id="nobody", attempt=1, patience_s=1.0))
    with pytest.raises(FencedError):
        await asyncio.to_thread(stranger.get_job)
    stranger.close()


async def test_every_returned_sample_is_listed_over_as_many_pages_as_it_takes(plane: RunningControlPlane) -> None:
    samples = [fleet_pb2.Sample(seq=seq, label=1, raw=seq.to_bytes(8, "little")) for seq in range(600)]
    await plane.database.write(lambda session: session.samples.add("camera-1", samples))
    driver = driver_of(plane)
    listed = await asyncio.to_thread(lambda: list(driver.list_samples(["camera-1"])))
    assert {entry.sample.raw for entry in listed} == {sample.raw for sample in samples}
    assert len(listed) == 600
    driver.close()


async def test_a_control_plane_that_is_not_there_is_waited_for_and_then_named() -> None:
    driver = ControlPlane(Connection(address="127.0.0.1:9", job_id="job-1", attempt=1, patience_s=0.5))
    with pytest.raises(UnavailableError):
        await asyncio.to_thread(driver.get_job)
    driver.close()
