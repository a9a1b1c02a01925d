"""Keeps the hysteresis counts of a policy across restarts, as one setting of the database."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict

from orchestrator.policy.recompression import Streak
from orchestrator.policy.triggers import Trigger
from orchestrator.store import Session

logger = logging.getLogger(__name__)


def load_streaks(session: Session, policy_name: str) -> tuple[Streak, ...]:
    """What `store_streaks` kept; nothing where it cannot be read: counting then starts over."""
    text = session.get_setting(_key(policy_name))
    try:
        return tuple(Streak(**{**plain, "trigger": Trigger(plain["trigger"])}) for plain in json.loads(text or "[]"))
    except (ValueError, TypeError, KeyError) as error:
        logger.warning("the counts of policy %s cannot be read and start over: %s", policy_name, error)
        return ()


def store_streaks(session: Session, policy_name: str, streaks: tuple[Streak, ...]) -> None:
    session.put_setting(_key(policy_name), json.dumps([asdict(streak) for streak in streaks if streak.count]))


def _key(policy_name: str) -> str:
    return f"streaks/{policy_name}"[:64]
