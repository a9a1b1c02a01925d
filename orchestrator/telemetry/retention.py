"""Adds up windows of past hours, and forgets what is old: events, windows, samples.

Cursors stay, so nothing that was forgotten can be taken again.
"""

from __future__ import annotations

import asyncio
import logging

from orchestrator.config import RetentionConfig
from orchestrator.errors import OrchestratorError
from orchestrator.store import Database, Session, events

logger = logging.getLogger(__name__)

INTERVAL_S = 600.0
ROLL_UP_AFTER_MS = 2 * 3_600_000
"""Windows stay as they came for so long; policies look back over less."""


def forget_old(session: Session, config: RetentionConfig) -> None:
    now_ms = session.now_ms
    deleted = events.delete_events(session.connection, before_ms=now_ms - int(config.events_s * 1000))
    windows = session.telemetry.delete_windows(before_ms=now_ms - int(config.windows_s * 1000))
    samples = sum(
        session.samples.delete_older(stats.device_id, before_ms=now_ms - int(config.samples_s * 1000))
        for stats in session.samples.stats()
    )
    if deleted or windows or samples:
        logger.info("forgot %d events, %d windows and %d samples", deleted, windows, samples)


def roll_up_old(session: Session) -> int:
    return session.telemetry.roll_up(before_ms=session.now_ms - ROLL_UP_AFTER_MS)


async def run_retention(database: Database, config: RetentionConfig) -> None:
    """Forget again and again, until cancelled."""
    while True:
        try:
            await database.write(lambda session: forget_old(session, config))
            while await database.write(roll_up_old):
                pass  # a bounded number in each transaction, so that others get their turn
        except OrchestratorError as error:
            logger.warning("old data could not be deleted, will try again: %s", error)
        await asyncio.sleep(INTERVAL_S)
