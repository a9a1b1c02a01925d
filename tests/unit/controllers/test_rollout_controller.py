"""Rollouts on a real database: what policy decides becomes assignments and commits, in one transaction each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.controllers import cancel_rollout, roll_back_rollout, start_rollout
from orchestrator.controllers.rollout_commands import RolloutUnderWayError
from orchestrator.controllers.rollouts import RolloutController
from orchestrator.errors import ConflictError, InvalidRequestError, NotFoundError
from orchestrator.records import ActionState, ClassModel, Gate, PairCounts, Rollout, RolloutState, RolloutTerms
from orchestrator.store import Session
from tests.unit.controllers.control_records import GOOD, NEW, OLD, Records

EVERYWHERE = (ClassModel(device_class="*", model_digest=NEW),)
BAD = PairCounts(pairs=300, agreements=230, both_correct=220, only_new_correct=5, only_old_correct=60, both_wrong=15)


async def begin(records: Records, **options: object) -> Rollout:
    return await records.do(lambda session: start_rollout(session, models=EVERYWHERE, **options))  # type: ignore[arg-type]


async def current(records: Records, rollout: Rollout) -> Rollout:
    return await records.database.read(lambda session: session.rollouts.get(rollout.id))


@pytest.fixture
async def fleet(records: Records) -> Records:
    await records.publish(OLD)
    await records.publish(NEW)
    for name in "abc":
        await records.add_device(name, running=OLD)
    return records


async def test_a_rollout_goes_wave_by_wave_to_its_end(fleet: Records) -> None:
    controller = RolloutController(fleet.database, welcome_interval_s=0.0)
    rollout = await begin(fleet, requester="b")
    order = [wave.devices[0].device_id for wave in rollout.waves]
    assert order[0] == "b"
    for device_id in order:
        await controller.reconcile()
        device = await fleet.device(device_id)
        assert device.assignment is not None
        assert (device.assignment.model_digest, device.assignment.generation) == (NEW, 2)
        assert device.assignment.probation is not None
        await fleet.report(device_id, ActionState.PROBATION, GOOD)
        await controller.reconcile()
        assert (await fleet.device(device_id)).committed_generation == 2
        await fleet.report(device_id, ActionState.COMMITTED, GOOD)
    await controller.reconcile()
    ended = await current(fleet, rollout)
    assert ended.state is RolloutState.SUCCEEDED
    assert ended.message.startswith("3 of 3 devices have the model")


async def test_a_worse_model_is_taken_back_as_a_new_generation(fleet: Records) -> None:
    controller = RolloutController(fleet.database, welcome_interval_s=0.0)
    rollout = await begin(fleet, requester="b")
    await controller.reconcile()
    await fleet.report("b", ActionState.PROBATION, BAD)
    await controller.reconcile()
    device = await fleet.device("b")
    assert device.assignment is not None
    assert (device.assignment.model_digest, device.assignment.generation) == (OLD, 3)
    assert device.assignment.probation is None
    assert (await current(fleet, rollout)).state is RolloutState.ROLLED_BACK
    assert (await fleet.device("a")).assignment == (await fleet.device("a")).assignment
    untouched = (await fleet.device("a")).assignment
    assert untouched is not None
    assert untouched.generation == 1


async def test_looking_again_changes_nothing(fleet: Records) -> None:
    controller = RolloutController(fleet.database, welcome_interval_s=0.0)
    await begin(fleet)
    await controller.reconcile()
    before = fleet.database.revision
    await controller.reconcile()
    await RolloutController(
        fleet.database, welcome_interval_s=0.0
    ).reconcile()  # as after a restart of the control plane
    assert fleet.database.revision == before


async def test_a_device_that_joins_later_is_given_the_model_that_succeeded(records: Records) -> None:
    await records.publish(NEW)
    await records.add_device("a")
    controller = RolloutController(records.database, welcome_interval_s=0.0)
    await begin(records)
    await controller.reconcile()
    await records.report("a", ActionState.COMMITTED)
    await controller.reconcile()
    await records.add_device("late")
    await controller.reconcile()
    await controller.reconcile()
    late = await records.device("late")
    assert late.assignment is not None
    assert late.assignment.model_digest == NEW
    assert late.assignment.probation is None
    await records.report("late", ActionState.COMMITTED)
    await controller.reconcile()
    rollouts = await records.database.read(lambda session: session.rollouts.list())
    assert [rollout.state for rollout in rollouts] == [RolloutState.SUCCEEDED] * 2
    assert rollouts[0].waves[0].gate is Gate.ACTIVATES


async def test_nobody_is_welcomed_with_a_model_that_was_taken_back(fleet: Records) -> None:
    controller = RolloutController(fleet.database, welcome_interval_s=0.0)
    await begin(fleet, requester="b")
    await controller.reconcile()
    await fleet.report("b", ActionState.PROBATION, BAD)
    await controller.reconcile()
    await fleet.add_device("late")
    await controller.reconcile()
    assert (await fleet.device("late")).assignment is None


async def test_by_hand_a_rollout_is_rolled_back_and_another_cancelled(fleet: Records) -> None:
    controller = RolloutController(fleet.database, welcome_interval_s=0.0)
    first = await begin(fleet, terms=RolloutTerms(skip_probation=True), device_ids=["a"])
    await controller.reconcile()
    await fleet.report("a", ActionState.COMMITTED)
    await controller.reconcile()
    back = await fleet.do(lambda session: roll_back_rollout(session, first.id))
    assert back.state is RolloutState.ROLLED_BACK
    device = await fleet.device("a")
    assert device.assignment is not None
    assert device.assignment.model_digest == OLD
    second = await begin(fleet, device_ids=["b", "c"])
    await controller.reconcile()
    cancelled = await fleet.do(lambda session: cancel_rollout(session, second.id))
    assert cancelled.state is RolloutState.CANCELLED
    again = await fleet.do(lambda session: cancel_rollout(session, second.id))
    assert again == cancelled


async def test_starting_twice_with_one_request_id_is_one_rollout(fleet: Records) -> None:
    first = await begin(fleet, client_request_id="r1")
    assert (await begin(fleet, client_request_id="r1")).id == first.id


async def test_a_device_is_in_one_rollout_at_a_time(fleet: Records) -> None:
    first = await begin(fleet, device_ids=["a", "b"])
    with pytest.raises(RolloutUnderWayError, match=f"rollout '{first.id}' is under way on b"):
        await begin(fleet, device_ids=["b", "c"])
    await begin(fleet, device_ids=["c"])
    await fleet.do(lambda session: cancel_rollout(session, first.id))
    await begin(fleet, device_ids=["b"])


async def test_a_rollout_without_anything_new_for_the_device_that_asked_is_refused(fleet: Records) -> None:
    with pytest.raises(ConflictError, match="no new model for 'b'"):
        await begin(fleet, requester="b", device_ids=["a"])


async def test_what_cannot_be_rolled_out_is_refused(fleet: Records) -> None:
    def start(models: tuple[ClassModel, ...]) -> object:
        return fleet.do(lambda session: start_rollout(session, models=models))

    with pytest.raises(InvalidRequestError, match="at least one"):
        await start(())  # type: ignore[misc]
    with pytest.raises(InvalidRequestError, match="one model per device class"):
        await start(EVERYWHERE * 2)  # type: ignore[misc]
    with pytest.raises(NotFoundError):
        await start((ClassModel(device_class="*", model_digest="f" * 64),))  # type: ignore[misc]

    def rename(session: Session) -> None:
        session.models.put(replace(session.models.get(OLD), name="other"))

    await fleet.do(rename)
    with pytest.raises(InvalidRequestError, match="one model name"):
        await start((*EVERYWHERE, ClassModel(device_class="phone", model_digest=OLD)))  # type: ignore[misc]
