"""Beginning and ending rollouts inside a transaction: for the controllers, and for operators who do it by hand."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Iterable, Mapping

from orchestrator.errors import ConflictError, InvalidRequestError
from orchestrator.policy.actions import Action, Commit, Revert, Start
from orchestrator.policy.rollout import cancel, roll_back
from orchestrator.policy.waves import plan_waves
from orchestrator.records import ClassModel, Device, Rollout, RolloutState, RolloutTerms
from orchestrator.store import Session

logger = logging.getLogger(__name__)


EVERY_DEVICE = 1_000_000
LOOKED_UP_SINGLY = 20
LABELLED_WINDOW_MS = 60_000
"""Labels that came in lately speak for a device that can show something."""


class RolloutUnderWayError(ConflictError):
    """Another rollout has not ended on a device that this one is for."""


def start_rollout(
    session: Session,
    *,
    models: tuple[ClassModel, ...],
    terms: RolloutTerms | None = None,
    requester: str | None = None,
    device_ids: Collection[str] = (),
    job_id: str = "",
    decision_id: str = "",
    goal: str = "accuracy",
    client_request_id: str = "",
) -> Rollout:
    """Plan a rollout of published models and record it; the controller takes it from there.

    Args:
        device_ids: only these; every device that the models are for where none is named.
        requester: must be among those that get a new model: it has to show that this one is better.

    Raises:
        InvalidRequestError: no model, models of different names, or two for one class.
        RolloutUnderWayError: an earlier rollout has not ended on one of the devices.
        ConflictError: there is nothing new for the device that asked.
        NotFoundError: a model is not published, or a device is not known.
    """
    if client_request_id:
        found = session.rollouts.find_by_request(client_request_id)
        if found is not None:
            return found
    name = _common_name(session, models)
    terms = terms or RolloutTerms()
    rollout_id = f"{name[:50]}-{uuid.uuid4().hex[:8]}"
    rollout = Rollout(
        id=rollout_id,
        model_name=name,
        models=models,
        terms=terms,
        waves=plan_waves(
            _members(session, device_ids),
            models,
            requester,
            seed=rollout_id,
            model_name=name,
            skip_probation=terms.skip_probation,
            labelled=_recent_labels(session, name),
        ),
        goal=goal,
        job_id=job_id,
        decision_id=decision_id,
        created_at_ms=session.now_ms,
        updated_at_ms=session.now_ms,
    )
    _check_free(session, rollout)
    if requester is not None and all(wave.name != "requester" for wave in rollout.waves):
        raise ConflictError(f"there is no new model for {requester!r}, the device that asked for one")
    session.rollouts.put_started(rollout, client_request_id)
    logger.info("rollout %s of %s to %d devices", rollout.id, name, sum(len(wave.devices) for wave in rollout.waves))
    return rollout


def roll_back_rollout(session: Session, rollout_id: str, why: str = "rolled back by the operator") -> Rollout:
    """End it and give every device that it touched its previous model, as a new generation."""
    rollout = session.rollouts.get(rollout_id)
    after, actions = roll_back(rollout, members_of(session, rollout), session.now_ms, why)
    return _record(session, rollout, after, actions)


def cancel_rollout(session: Session, rollout_id: str) -> Rollout:
    """Start no further device; those that passed keep the model."""
    rollout = session.rollouts.get(rollout_id)
    after, actions = cancel(rollout, members_of(session, rollout), session.now_ms)
    return _record(session, rollout, after, actions)


def members_of(session: Session, rollout: Rollout) -> dict[str, Device]:
    """The devices of a rollout that are known, by id."""
    ids = {entry.device_id for wave in rollout.waves for entry in wave.devices}
    if len(ids) > LOOKED_UP_SINGLY:
        return {device.id: device for device in session.devices.list(limit=EVERY_DEVICE) if device.id in ids}
    found = ((device_id, session.devices.find(device_id)) for device_id in ids)
    return {device_id: device for device_id, device in found if device is not None}


def carry_out(session: Session, rollout: Rollout, actions: Iterable[Action]) -> None:
    """Make the assignments and commits that a step of `rollout` asked for."""
    for action in actions:
        if isinstance(action, Commit):
            session.devices.commit(action.device_id, action.generation)
            continue
        model = session.models.find(action.digest)
        if model is None:
            assert isinstance(action, Revert)  # a rollout is only planned with published models
            logger.warning("device %s cannot get %s back: no such model", action.device_id, action.digest[:12])
            continue
        probation = action.probation if isinstance(action, Start) else None
        given = session.devices.assign(action.device_id, model, probation=probation, rollout_id=rollout.id)
        # The policy counts generations by the same records in the same transaction.
        assert given.generation == action.generation, f"generation {given.generation}, not {action.generation}"


def _record(session: Session, before: Rollout, after: Rollout, actions: tuple[Action, ...]) -> Rollout:
    if after != before:
        carry_out(session, after, actions)
        session.rollouts.put(after)
    return after


def _check_free(session: Session, rollout: Rollout) -> None:
    """One rollout at a time for each device: else an older one, held up, could give it an older model afterwards."""
    ids = {entry.device_id for wave in rollout.waves for entry in wave.devices}
    for other in session.rollouts.list(states=[RolloutState.RUNNING]):
        shared = ids & {entry.device_id for wave in other.waves for entry in wave.devices}
        if shared:
            raise RolloutUnderWayError(
                f"rollout {other.id!r} is under way on {', '.join(sorted(shared)[:5])}; wait for its end or cancel it"
            )


def _common_name(session: Session, models: tuple[ClassModel, ...]) -> str:
    if not models:
        raise InvalidRequestError("a rollout needs at least one model")
    classes = [model.device_class for model in models]
    if len(set(classes)) != len(classes):
        raise InvalidRequestError("a rollout takes one model per device class")
    names = {session.models.get(model.model_digest).name for model in models}
    if len(names) > 1:
        raise InvalidRequestError(f"a rollout is of one model name, these are {', '.join(sorted(names))}")
    return names.pop()


def _members(session: Session, device_ids: Collection[str]) -> list[Device]:
    if device_ids:
        return [session.devices.get(device_id) for device_id in sorted(set(device_ids))]
    return session.devices.list(limit=EVERY_DEVICE)


def _recent_labels(session: Session, model_name: str) -> Mapping[str, int]:
    totals = session.telemetry.window_totals(model_name=model_name, since_ms=session.now_ms - LABELLED_WINDOW_MS)
    labelled: dict[str, int] = {}
    for entry in totals:
        labelled[entry.device_id] = labelled.get(entry.device_id, 0) + entry.labelled
    return labelled
