"""The work that the state machine asks for: one piece at a time, each answered by one event.

Fetching waits for the network, verifying and syncing for a thread, so that requests are answered meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from edge_agent import life as words
from edge_agent.crashpoints import reach
from edge_agent.errors import BlobMissingError, EspalierError, ModelRefusedError
from edge_agent.library import ModelLibrary
from edge_agent.life import Assignment, Event, ModelRef
from edge_agent.serving import ModelHost
from edge_agent.verify import VerifiedModel

logger = logging.getLogger(__name__)

RESTORE_RETRY_S = 600.0


class Worker:
    """What is under way.

    Args:
        dispatch: takes the event that answers a piece of work.
    """

    def __init__(self, library: ModelLibrary, host: ModelHost, dispatch: Callable[[Event], None]) -> None:
        self._library = library
        self._host = host
        self._dispatch = dispatch
        self._task: asyncio.Task[None] | None = None
        self._verified: VerifiedModel | None = None
        self._restore_at = 0.0

    @property
    def is_busy(self) -> bool:
        return self._task is not None and not self._task.done()

    def begin(self, action: words.Work) -> None:
        """In place of what is under way."""
        self.cancel()
        self._task = asyncio.create_task(self._answer(action), name=type(action).__name__)

    def restore(self, broken: ModelRef) -> None:
        """Fetch a model again that no longer verified at the start, now and then as long as that fails."""
        if self.is_busy or time.monotonic() < self._restore_at:
            return
        self._restore_at = time.monotonic() + RESTORE_RETRY_S
        self._task = asyncio.create_task(self._restore(broken), name="restore")

    def cancel(self) -> None:
        """Not the task that is just telling its answer: it has ended but for that."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    async def stop(self) -> None:
        self.cancel()
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def forget(self) -> None:
        """Let go of the verified model: it was promoted or dropped."""
        self._verified = None

    async def _answer(self, action: words.Work) -> None:
        generation = action.assignment.generation
        try:
            answer = await self._perform(action)
        except ModelRefusedError as error:
            answer = words.Refused(generation, str(error))
        except (EspalierError, OSError, MemoryError) as error:
            answer = words.WorkFailed(generation, str(error) or type(error).__name__)
        except Exception as error:
            logger.exception("%s failed", type(action).__name__)
            answer = words.WorkFailed(generation, f"unexpected {type(error).__name__}: {error}")
        self._dispatch(answer)

    def _perform(self, action: words.Work) -> Awaitable[Event]:
        match action:
            case words.Prepare(assignment):
                return self._prepare(assignment)
            case words.Download(assignment):
                return self._download(assignment)
            case words.Verify(assignment):
                return self._verify(assignment)
            case words.Stage(assignment):
                return self._stage(assignment)
            case words.Activate(assignment):
                return self._activate(assignment)

    async def _prepare(self, assignment: Assignment) -> Event:
        return words.Prepared(assignment.generation, self._library.check_room(assignment.model))

    async def _download(self, assignment: Assignment) -> Event:
        await self._library.fetch(assignment.model)
        return words.Downloaded(assignment.generation)

    async def _verify(self, assignment: Assignment) -> Event:
        try:
            self._verified = await self._library.verify(assignment.model)
        except BlobMissingError as error:
            return words.BlobsMissing(assignment.generation, str(error))
        reach("verified")
        return words.Verified(assignment.generation)

    async def _stage(self, assignment: Assignment) -> Event:
        await self._library.make_durable()
        return words.Staged(assignment.generation)

    async def _activate(self, assignment: Assignment) -> Event:
        verified = self._verified
        if verified is None or verified.ref != assignment.model:  # a process before this one had verified it
            verified = await self._library.verify(assignment.model)
        self._verified = verified
        self._host.activate(verified)
        return words.Activated(assignment.generation)

    async def _restore(self, broken: ModelRef) -> None:
        try:
            await self._library.fetch(broken)
            model = await self._library.verify(broken)
        except (EspalierError, OSError, MemoryError) as error:
            logger.warning("cannot restore model %s: %s", broken.digest[:12], error)
            return
        self._dispatch(words.CurrentRestored(broken.digest))
        self._host.serve(model)
