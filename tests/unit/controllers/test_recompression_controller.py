"""From telemetry in the database to a decision, a job and the end of both."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.controllers.chosen import roll_out_chosen
from orchestrator.controllers.recompression import RecompressionController
from orchestrator.controllers.rollouts import RolloutController
from orchestrator.policy.recompression import is_same, replay
from orchestrator.records import ActionState, ClassModel, Decision, JobState, Policy
from orchestrator.spec import parse_job
from protos import model_pb2
from tests.unit.controllers.control_records import GOOD, JOB, NEW, OLD, POLICY, STUDENT, Records


@pytest.fixture
async def camera(records: Records) -> Records:
    """Two devices run a model whose job and student are known; a policy watches them."""
    await records.add_job(state=JobState.SUCCEEDED)
    await records.publish(OLD, job_id="fashion-1", student=STUDENT)
    await records.add_device("a", running=OLD)
    await records.add_device("b", running=OLD)
    await records.do(lambda session: session.policies.put(Policy(name="keep", spec_yaml=POLICY)))
    return records


async def decisions(records: Records) -> list[Decision]:
    return await records.database.read(lambda session: session.decisions.list())


async def state_lineage(records: Records, student: str, issued_at_ms: int) -> None:
    lineage = model_pb2.Lineage(student_sha256=bytes.fromhex(student))
    body = model_pb2.Statement(lineage=lineage, issued_at_ms=issued_at_ms).SerializeToString()
    await records.do(lambda session: session.models.put_statement(student, OLD, body))


async def degrade(records: Records, controller: RecompressionController, *, looks: int) -> None:
    for _ in range(looks):
        records.clock.advance(2)
        await records.add_telemetry("a", labelled=120, correct=60)
        await records.add_telemetry("b", labelled=120, correct=115)
        await controller.reconcile()


async def test_a_degraded_device_gets_a_decision_and_a_job_that_names_everything(camera: Records) -> None:
    controller = RecompressionController(camera.database)
    await camera.add_samples("a", 60)
    await degrade(camera, controller, looks=1)
    assert await decisions(camera) == []
    await degrade(camera, controller, looks=1)
    (decision,) = await decisions(camera)
    assert (decision.device_id, decision.action, decision.outcome) == ("a", "distill_again", "running")
    assert "accuracy 0.500 on 240 labelled requests" in decision.reason
    job = await camera.job(decision.job_id)
    assert (job.state, job.name, job.parent_job_id) == (JobState.QUEUED, "fashion-distill-again", "fashion-1")
    assert (job.parent_student_digest, job.parent_model_digest) == (STUDENT, OLD)
    assert (job.sample_device_ids, job.action, job.decision_id) == (("a",), "distill_again", decision.id)
    student = parse_job(job.spec_yaml).student
    assert student is not None
    assert student.epochs == 2


async def test_of_several_lineages_the_newest_says_which_student_learns_again(camera: Records) -> None:
    for student, issued_at_ms in (("1" * 64, 1), ("2" * 64, 3), ("3" * 64, 2)):
        await state_lineage(camera, student, issued_at_ms)
    await camera.add_samples("a", 60)
    await degrade(camera, RecompressionController(camera.database), looks=2)
    (decision,) = await decisions(camera)
    assert (await camera.job(decision.job_id)).parent_student_digest == "2" * 64


async def test_the_recorded_decision_replays_to_the_same(camera: Records) -> None:
    await camera.add_samples("a", 60)
    await degrade(camera, RecompressionController(camera.database), looks=2)
    (decision,) = await decisions(camera)
    assert is_same(decision, replay(decision))


async def test_samples_are_asked_for_while_they_are_needed_and_not_longer(camera: Records) -> None:
    async def remaining() -> list[int | None]:
        return await camera.database.read(lambda session: [session.samples.remaining(name) for name in "ab"])

    controller = RecompressionController(camera.database)
    assert await remaining() == [None, None]
    await degrade(camera, controller, looks=1)
    assert await remaining() == [100, None]
    await degrade(camera, controller, looks=3)
    assert await decisions(camera) == []  # it waits for samples
    await camera.add_samples("a", 50)
    await degrade(camera, controller, looks=2)
    assert len(await decisions(camera)) == 1
    assert await remaining() == [None, None]


async def test_samples_of_an_earlier_model_do_not_count(camera: Records) -> None:
    await camera.add_samples("a", 60, model=NEW)
    await degrade(camera, RecompressionController(camera.database), looks=3)
    assert await decisions(camera) == []


async def test_counts_survive_a_restart(camera: Records) -> None:
    await camera.add_samples("a", 60)
    await degrade(camera, RecompressionController(camera.database), looks=1)
    await degrade(camera, RecompressionController(camera.database), looks=1)
    assert len(await decisions(camera)) == 1


async def test_looking_again_without_new_telemetry_decides_nothing(camera: Records) -> None:
    await camera.add_samples("a", 60)
    controller = RecompressionController(camera.database)
    await degrade(camera, controller, looks=1)
    before = camera.database.revision
    for _ in range(5):
        await controller.reconcile()
    assert camera.database.revision == before


async def test_old_telemetry_drops_out_of_the_window(camera: Records) -> None:
    await camera.add_samples("a", 60)
    controller = RecompressionController(camera.database)
    await degrade(camera, controller, looks=1)
    camera.clock.advance(61)
    for _ in range(3):
        camera.clock.advance(2)
        await camera.add_telemetry("a", labelled=60, correct=58)
        await controller.reconcile()
    assert await decisions(camera) == []


async def test_confidence_that_sank_is_enough_without_labels(camera: Records) -> None:
    await camera.add_samples("a", 60)
    controller = RecompressionController(camera.database)
    sure, unsure = (0,) * 31 + (400,), (0,) * 10 + (400,) + (0,) * 21
    await camera.add_telemetry("a", labelled=0, correct=0, histogram=sure)
    camera.clock.advance(61)
    for _ in range(3):
        camera.clock.advance(2)
        await camera.add_telemetry("a", labelled=0, correct=0, histogram=unsure)
        await controller.reconcile()
    (decision,) = await decisions(camera)
    assert "confidence has sunk by 1.000" in decision.reason


async def test_the_loop_closes_with_the_requester_first(camera: Records) -> None:
    controller, rollouts = RecompressionController(camera.database), RolloutController(camera.database)
    await camera.add_samples("a", 60)
    await degrade(camera, controller, looks=2)
    (decision,) = await decisions(camera)
    job = await camera.job(decision.job_id)
    await camera.publish(NEW, job_id=job.id, student=STUDENT)
    chosen = (ClassModel(device_class="*", model_digest=NEW),)
    await camera.do(lambda session: session.jobs.put(replace(job, state=JobState.SUCCEEDED, chosen=chosen)))
    await camera.do(roll_out_chosen)
    await controller.reconcile()
    (decision,) = await decisions(camera)
    assert decision.rollout_id
    assert decision.outcome == "running"
    for device_id in ("a", "b"):
        await rollouts.reconcile()
        await camera.report(device_id, ActionState.PROBATION, GOOD)
        await rollouts.reconcile()
        await camera.report(device_id, ActionState.COMMITTED, GOOD)
    await rollouts.reconcile()
    await controller.reconcile()
    (decision,) = await decisions(camera)
    assert decision.outcome == "improved"


@pytest.mark.parametrize(
    ("state", "outcome"),
    [(JobState.FAILED, "failed"), (JobState.CANCELLED, "failed"), (JobState.INFEASIBLE, "infeasible")],
)
async def test_a_job_without_a_model_ends_its_decision(camera: Records, state: JobState, outcome: str) -> None:
    controller = RecompressionController(camera.database)
    await camera.add_samples("a", 60)
    await degrade(camera, controller, looks=2)
    (decision,) = await decisions(camera)
    job = await camera.job(decision.job_id)
    await camera.do(lambda session: session.jobs.put(replace(job, state=state)))
    await controller.reconcile()
    assert [d.outcome for d in await decisions(camera)] == [outcome]


async def test_a_model_left_to_the_operator_ends_its_decision_as_published(camera: Records) -> None:
    controller = RecompressionController(camera.database)
    await camera.add_samples("a", 60)
    await degrade(camera, controller, looks=2)
    (decision,) = await decisions(camera)
    job = await camera.job(decision.job_id)
    by_hand = replace(
        job,
        state=JobState.SUCCEEDED,
        chosen=(ClassModel(device_class="*", model_digest=NEW),),
        spec_yaml=JOB.replace("auto: true", "auto: false"),
    )
    await camera.do(lambda session: session.jobs.put(by_hand))
    await controller.reconcile()
    assert [d.outcome for d in await decisions(camera)] == ["published"]


async def test_a_model_that_was_not_made_here_is_said_to_be_beyond_repair(records: Records) -> None:
    await records.publish(OLD)
    await records.add_device("a", running=OLD)
    await records.add_device("b", running=OLD)
    await records.do(lambda session: session.policies.put(Policy(name="keep", spec_yaml=POLICY)))
    await records.add_samples("a", 60)
    await degrade(records, RecompressionController(records.database), looks=4)
    (decision,) = await decisions(records)
    assert decision.outcome == "failed"
    assert "is not known" in decision.reason


async def test_samples_past_their_retention_are_deleted(camera: Records) -> None:
    await camera.add_samples("a", 10)
    camera.clock.advance(3601)
    await camera.add_samples("b", 10)
    await RecompressionController(camera.database).reconcile()
    stats = await camera.database.read(lambda session: session.samples.stats())
    assert [(entry.device_id, entry.samples) for entry in stats] == [("b", 10)]


async def test_a_policy_that_cannot_be_read_does_not_stop_the_others(camera: Records) -> None:
    await camera.do(lambda session: session.policies.put(Policy(name="broken", spec_yaml="x: [")))
    await camera.add_samples("a", 60)
    await degrade(camera, RecompressionController(camera.database), looks=2)
    assert len(await decisions(camera)) == 1
