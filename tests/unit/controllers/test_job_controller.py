"""Job processes: one for each job, started again when it dies, ended when it is not wanted. Real processes, no Ray."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.controllers import cancel_rollout, start_rollout
from orchestrator.controllers.config import ControllersConfig
from orchestrator.controllers.driver_process import driver_command, find_recorded, job_dir, log_tail
from orchestrator.controllers.jobs import JobController
from orchestrator.jobs.processes import ProcessIdentity
from orchestrator.records import ActionState, ClassModel, Gate, Job, JobState, RolloutState
from tests.unit.controllers.control_records import JOB, NEW, OLD, Records

STAYS = "import time; print('here', flush=True); time.sleep(600)"
DIES = "print('about to die', flush=True); raise SystemExit(9)"
IGNORES = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
)
HAS_CHILD = (
    "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    "print('child', flush=True); time.sleep(600)"
)


def config_for(folder: Path, **changes: object) -> ControllersConfig:
    base = ControllersConfig(
        data_dir=folder,
        operator_address="127.0.0.1:7444",
        restart_backoff_s=0.0,
        max_driver_deaths=3,
        cancel_grace_s=0.0,
        stop_grace_s=2.0,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


Make = Callable[..., JobController]


@pytest.fixture
async def make(records: Records, tmp_path: Path) -> AsyncIterator[Make]:
    made: list[JobController] = []

    def controller(script: str = STAYS, **changes: object) -> JobController:
        config = config_for(tmp_path, **changes)
        made.append(JobController(records.database, config, command=lambda *_: [sys.executable, "-c", script]))
        return made[-1]

    yield controller
    await asyncio.gather(*(one.close() for one in made))


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float = 20.0) -> None:
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, "did not come true in time"
        await asyncio.sleep(0.02)


def pid_of(folder: Path) -> int:
    (driver,) = find_recorded(config_for(folder))
    return driver.record.process.pid


async def reconcile_until(controller: JobController, condition: Callable[[], Awaitable[bool]]) -> None:
    async def look() -> bool:
        await controller.reconcile()
        return await condition()

    await until(look)


async def test_a_queued_job_gets_a_driver_in_a_session_of_its_own(records: Records, make: Make, tmp_path: Path) -> None:
    await records.add_job()
    await make().reconcile()
    job = await records.job()
    assert (job.state, job.attempt) == (JobState.RUNNING, 1)
    pid = pid_of(tmp_path)
    assert os.getsid(pid) == pid
    config = config_for(tmp_path)

    async def has_written() -> bool:
        return "here" in log_tail(config, job.id)

    await until(has_written)
    assert "--- attempt 1" in log_tail(config, job.id)


async def test_a_driver_that_is_killed_is_started_again_as_the_next_attempt(
    records: Records, make: Make, tmp_path: Path
) -> None:
    await records.add_job()
    controller = make()
    await controller.reconcile()
    first = pid_of(tmp_path)
    os.kill(first, signal.SIGKILL)

    async def second_attempt() -> bool:
        return (await records.job()).attempt == 2

    await reconcile_until(controller, second_attempt)
    assert pid_of(tmp_path) != first


async def test_a_driver_that_always_dies_fails_its_job_with_its_last_words(records: Records, make: Make) -> None:
    await records.add_job()

    async def has_failed() -> bool:
        return (await records.job()).state is JobState.FAILED

    await reconcile_until(make(DIES), has_failed)
    job = await records.job()
    assert job.attempt == 3
    assert "ended with code 9, as it did 3 times" in job.message
    assert "about to die" in job.message


async def test_a_driver_is_not_started_again_before_its_pause_is_over(records: Records, make: Make) -> None:
    await records.add_job()
    controller = make(DIES, restart_backoff_s=3600.0)
    await controller.reconcile()

    async def is_gone() -> bool:
        return not controller._jobs["fashion-1"].driver

    await reconcile_until(controller, is_gone)
    for _ in range(3):
        await controller.reconcile()
    assert (await records.job()).attempt == 1


async def test_a_driver_that_cannot_be_started_counts_as_one_that_died(records: Records, tmp_path: Path) -> None:
    await records.add_job()
    controller = JobController(records.database, config_for(tmp_path), command=lambda *_: ["/no/such/program"])

    async def has_failed() -> bool:
        return (await records.job()).state is JobState.FAILED

    await reconcile_until(controller, has_failed)
    assert "could not be started" in (await records.job()).message


async def test_no_more_drivers_run_than_allowed(records: Records, make: Make) -> None:
    for number in range(3):
        await records.add_job(f"fashion-{number}", created_at_ms=number)
    await make(max_drivers=2).reconcile()
    states = [(await records.job(f"fashion-{number}")).state for number in range(3)]
    assert states == [JobState.RUNNING, JobState.RUNNING, JobState.QUEUED]


@pytest.mark.parametrize("script", [STAYS, HAS_CHILD])
async def test_a_job_that_ended_has_no_driver_left_after_a_moment(
    records: Records, make: Make, tmp_path: Path, script: str
) -> None:
    await records.add_job()
    controller = make(script)
    await controller.reconcile()
    (driver,) = find_recorded(config_for(tmp_path))
    job = await records.job()
    await records.do(lambda session: session.jobs.put(replace(job, state=JobState.SUCCEEDED)))
    await controller.reconcile()
    assert not driver.is_alive
    assert find_recorded(config_for(tmp_path)) == []


@pytest.mark.parametrize("script", [STAYS, IGNORES])
async def test_cancelling_ends_a_driver_that_does_not_end_itself(records: Records, make: Make, script: str) -> None:
    await records.add_job()
    controller = make(script, stop_grace_s=0.3)
    await controller.reconcile()
    job = await records.job()
    await records.do(lambda session: session.jobs.put(replace(job, cancel_requested=True)))

    async def is_cancelled() -> bool:
        return (await records.job()).state is JobState.CANCELLED

    await reconcile_until(controller, is_cancelled)
    assert (await records.job()).attempt == 1


async def test_a_job_cancelled_without_a_driver_is_cancelled_at_once(records: Records, make: Make) -> None:
    await records.add_job(state=JobState.RUNNING, attempt=4, cancel_requested=True)
    await make().reconcile()
    assert (await records.job()).state is JobState.CANCELLED


async def test_closing_ends_drivers_and_their_children_and_leaves_jobs_to_be_resumed(
    records: Records, make: Make, tmp_path: Path
) -> None:
    await records.add_job()
    controller = make(HAS_CHILD)
    await controller.reconcile()
    (driver,) = find_recorded(config_for(tmp_path))
    config = config_for(tmp_path)

    async def has_child() -> bool:
        return "child" in log_tail(config, "fashion-1")

    await until(has_child)
    await controller.close()
    assert not driver.is_alive
    assert (await records.job()).state is JobState.RUNNING
    again = make()
    await again.reconcile()
    assert (await records.job()).attempt == 2


async def test_the_next_control_plane_goes_on_with_a_driver_that_still_runs(
    records: Records, make: Make, tmp_path: Path
) -> None:
    """As after kill -9 of the control plane: the first controller is never closed, its driver is found on record."""
    await records.add_job()
    await make().reconcile()
    before = pid_of(tmp_path)
    second = make()
    await second.reconcile()
    assert pid_of(tmp_path) == before
    assert (await records.job()).attempt == 1
    await second.close()
    assert ProcessIdentity.of(before) is None or not find_recorded(config_for(tmp_path))


async def test_a_driver_that_reports_to_another_address_is_ended_and_replaced(
    records: Records, make: Make, tmp_path: Path
) -> None:
    await records.add_job()
    await make().reconcile()
    (driver,) = find_recorded(config_for(tmp_path))
    await make(operator_address="127.0.0.1:9999").reconcile()
    assert not driver.is_alive
    assert (await records.job()).attempt == 2


async def test_a_process_that_merely_has_a_recorded_id_is_never_touched(
    records: Records, make: Make, tmp_path: Path
) -> None:
    """The record names this very test process, but with another start time: as where the kernel gave the id again."""
    await records.add_job()
    first = make()
    await first.reconcile()
    path = job_dir(config_for(tmp_path), "fashion-1") / "driver.json"
    (driver,) = find_recorded(config_for(tmp_path))
    await first.close()
    path.write_text(
        '{"job_id": "fashion-1", "attempt": 1, "operator_address": "127.0.0.1:7444", "mark": "none", "process": '
        f'{{"pid": {os.getpid()}, "start_ticks": 1, "boot_id": "{driver.record.process.boot_id}"}}}}'
    )
    await make().reconcile()
    assert (await records.job()).attempt == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"job_id": 3}', "null"])
async def test_a_record_that_cannot_be_read_is_passed_over(
    records: Records, make: Make, tmp_path: Path, text: str
) -> None:
    await records.add_job()
    folder = job_dir(config_for(tmp_path), "fashion-1")
    folder.mkdir(parents=True)
    (folder / "driver.json").write_text(text)
    await make().reconcile()
    assert (await records.job()).attempt == 1


def test_the_command_names_the_embedded_cluster_or_the_one_that_is_given(tmp_path: Path) -> None:
    here = driver_command(config_for(tmp_path), "j", 3)
    assert here[1:4] == ["-m", "orchestrator.jobs.driver", "--operator-address"]
    assert here[-2:] == ["--data-dir", str(tmp_path)]
    there = driver_command(config_for(tmp_path, ray_address="10.0.0.1:6379"), "j", 3)
    assert there[1:5] == ["-m", "orchestrator.jobs.submission", "--ray-address", "10.0.0.1:6379"]
    assert "--data-dir" not in there


class TestChosen:
    async def finish(self, records: Records, **changes: object) -> Job:
        await records.publish(OLD)
        await records.publish(NEW)
        for name in "abc":
            await records.add_device(name, running=OLD)
        chosen = (ClassModel(device_class="*", model_digest=NEW),)
        return await records.add_job(**{"state": JobState.SUCCEEDED, "chosen": chosen} | changes)  # type: ignore[arg-type]

    async def test_what_a_job_chose_is_rolled_out_once_with_the_terms_of_its_spec(
        self, records: Records, make: Make
    ) -> None:
        await self.finish(records)
        controller = make()
        await controller.reconcile()
        await controller.reconcile()
        (rollout,) = await records.database.read(lambda session: session.rollouts.list())
        assert (rollout.job_id, rollout.state, rollout.goal) == ("fashion-1", RolloutState.RUNNING, "accuracy")
        assert (rollout.terms.min_pairs, rollout.terms.probation_timeout_s) == (20, 60.0)
        assert [wave.name for wave in rollout.waves] == ["first", "rest"]
        assert (await records.job()).rollout_id == rollout.id

    async def test_the_device_that_asked_goes_first_and_must_be_better(self, records: Records, make: Make) -> None:
        from orchestrator.records import Decision

        decision = Decision(
            id="dec", policy="keep", device_id="b", model_digest=OLD, action="faster_candidate", reason="",
            evidence_json="{}", decided_at_ms=1,
        )  # fmt: skip
        await records.do(lambda session: session.decisions.put(decision))
        await self.finish(records, decision_id="dec", action="faster_candidate")
        await make().reconcile()
        (rollout,) = await records.database.read(lambda session: session.rollouts.list())
        assert [wave.name for wave in rollout.waves] == ["requester", "healthy", "rest"]
        assert (rollout.waves[0].devices[0].device_id, rollout.waves[0].gate) == ("b", Gate.BETTER)
        assert (rollout.goal, rollout.decision_id) == ("latency", "dec")

    async def test_it_waits_for_a_rollout_that_is_under_way_on_its_devices(self, records: Records, make: Make) -> None:
        await self.finish(records)
        other = await records.do(
            lambda session: start_rollout(session, models=(ClassModel(device_class="*", model_digest=NEW),))
        )
        controller = make()
        await controller.reconcile()
        assert (await records.job()).rollout_id == ""
        await records.do(lambda session: cancel_rollout(session, other.id))
        await controller.reconcile()
        assert (await records.job()).rollout_id not in ("", other.id)

    async def test_a_spec_that_leaves_it_to_the_operator_starts_nothing(self, records: Records, make: Make) -> None:
        await self.finish(records, spec_yaml=JOB.replace("auto: true", "auto: false"))
        await make().reconcile()
        assert await records.database.read(lambda session: session.rollouts.list()) == []

    async def test_a_choice_that_cannot_be_rolled_out_is_said_and_not_tried_for_ever(
        self, records: Records, make: Make
    ) -> None:
        await self.finish(records, chosen=(ClassModel(device_class="*", model_digest="f" * 64),))
        controller = make()
        await controller.reconcile()
        assert "cannot be rolled out" in (await records.job()).message
        before = records.database.revision
        await controller.reconcile()
        assert records.database.revision == before

    async def test_devices_without_a_model_get_it_without_probation(self, records: Records, make: Make) -> None:
        await records.publish(NEW)
        await records.add_device("a")
        await records.add_job(state=JobState.SUCCEEDED, chosen=(ClassModel(device_class="gateway", model_digest=NEW),))
        await make().reconcile()
        (rollout,) = await records.database.read(lambda session: session.rollouts.list())
        assert rollout.waves[0].gate is Gate.ACTIVATES
        assert (await records.device("a")).action_state is ActionState.IDLE
