"""Runs a controller: look, act, wait until something is written or a tick has passed, look again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from orchestrator.store import Database

logger = logging.getLogger(__name__)

MIN_PAUSE_S = 0.05
"""Between two looks: writes come in bursts, and one look sees all of a burst."""
IDLE_FACTOR = 3.0
"""A look that took long, as over a large fleet, is followed by a pause that many times as long."""
MAX_PAUSE_AFTER_ERROR_S = 10.0


async def run_controller(
    name: str,
    database: Database,
    reconcile: Callable[[], Awaitable[None]],
    *,
    tick_s: float,
    min_pause_s: float = MIN_PAUSE_S,
) -> None:
    """Reconcile until cancelled. An error ends one look, not the controller: what caused it may pass."""
    errors = 0
    while True:
        seen = database.revision
        began_s = asyncio.get_running_loop().time()
        try:
            await reconcile()
            errors = 0
        except Exception:
            errors += 1
            logger.exception("the %s controller failed at a look (%d in a row); it will look again", name, errors)
        took_s = asyncio.get_running_loop().time() - began_s
        pause_s = max(min_pause_s, IDLE_FACTOR * took_s)
        if errors:
            pause_s = min(MAX_PAUSE_AFTER_ERROR_S, tick_s * 2.0 ** min(errors, 8))
        await asyncio.sleep(pause_s)
        if not errors:
            await database.wait_for_revision(seen, timeout_s=tick_s)
