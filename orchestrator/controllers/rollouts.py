"""Steps every rollout under way, and gives devices that join later what their class was given."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from orchestrator.controllers.rollout_commands import EVERY_DEVICE, carry_out, members_of, start_rollout
from orchestrator.policy.rollout import step
from orchestrator.policy.waves import newcomers
from orchestrator.records import RolloutState, RolloutTerms
from orchestrator.store import Database, Session

logger = logging.getLogger(__name__)

RECENT_ROLLOUTS = 50


class RolloutController:
    """`welcome_interval_s`: how often it looks for devices that were never given a model; it reads all of them."""

    def __init__(self, database: Database, *, welcome_interval_s: float = 1.0) -> None:
        self._database = database
        self._welcome_interval_s = welcome_interval_s
        self._welcome_at_s = 0.0

    async def reconcile(self) -> None:
        # Looked at on a reader first: most looks find nothing to do, and the one writer has others to serve.
        for rollout_id in await self._database.read(_due):
            await self._database.write(partial(_step, rollout_id=rollout_id))
        now_s = asyncio.get_running_loop().time()
        if now_s < self._welcome_at_s:
            return
        self._welcome_at_s = now_s + self._welcome_interval_s
        if await self._database.read(_newcomers):
            await self._database.write(_welcome)


def _due(session: Session) -> list[str]:
    """Rollouts for which there is something to do, the oldest first."""
    due = []
    for rollout in session.rollouts.list(states=[RolloutState.RUNNING])[::-1]:
        after, actions = step(rollout, members_of(session, rollout), session.now_ms)
        if actions or after != rollout:
            due.append(rollout.id)
    return due


def _step(session: Session, rollout_id: str) -> None:
    """One step, decided and carried out on the same records."""
    rollout = session.rollouts.get(rollout_id)
    after, actions = step(rollout, members_of(session, rollout), session.now_ms)
    if after == rollout:
        return
    carry_out(session, after, actions)
    session.rollouts.put(after)
    if after.state is not rollout.state:
        logger.info("rollout %s %s: %s", after.id, after.state.value, after.message)


def _newcomers(session: Session) -> dict[str, list[str]]:
    waiting = [d for d in session.devices.list(limit=EVERY_DEVICE) if d.assignment is None and d.online]
    if not waiting:
        return {}
    return newcomers(waiting, session.rollouts.list(limit=RECENT_ROLLOUTS))


def _welcome(session: Session) -> None:
    for rollout_id, device_ids in _newcomers(session).items():
        proven = session.rollouts.get(rollout_id)
        rollout = start_rollout(
            session,
            models=proven.models,
            terms=RolloutTerms(probation_timeout_s=proven.terms.probation_timeout_s),
            device_ids=device_ids,
            job_id=proven.job_id,
        )
        logger.info("rollout %s: %d devices joined after rollout %s", rollout.id, len(device_ids), rollout_id)
