"""Keeps a driver running for every job that has not ended.

A driver that dies is started again as the next attempt; what it had finished is found by the stages' digests. Reports
of an older attempt are refused by the operators' service, so a driver that nobody knows of any more can do no harm.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from orchestrator.controllers.chosen import jobs_to_roll_out, roll_out_chosen
from orchestrator.controllers.config import ControllersConfig
from orchestrator.controllers.driver_process import (
    DriverProcess,
    driver_command,
    find_recorded,
    forget,
    log_tail,
    spawn_driver,
)
from orchestrator.records import Job, JobState
from orchestrator.store import Database, Session

logger = logging.getLogger(__name__)

MAX_BACKOFF_S = 60.0
MESSAGE_LIMIT = 2000

Command = Callable[[ControllersConfig, str, int], Sequence[str]]


@dataclass
class _Supervision:
    """What is remembered about one job while it runs."""

    driver: DriverProcess | None = None
    deaths: int = 0
    not_before_s: float = 0.0
    cancel_since_s: float | None = None


class JobController:
    """`command` makes the command line of a driver; tests give their own."""

    def __init__(self, database: Database, config: ControllersConfig, *, command: Command = driver_command) -> None:
        self._database = database
        self._config = config
        self._command = command
        self._jobs: dict[str, _Supervision] = {}
        self._has_taken_over = False

    async def reconcile(self) -> None:
        if not self._has_taken_over:
            await self._take_over()
            self._has_taken_over = True
        opened = await self._database.read(_open_jobs)
        await self._release({job.id for job in opened})
        for job in opened:
            await self._supervise(job)
        if await self._database.read(jobs_to_roll_out):
            await self._database.write(roll_out_chosen)

    async def close(self) -> None:
        """End every driver. Their jobs stay as they are and are resumed by the next control plane."""
        running = [entry.driver for entry in self._jobs.values() if entry.driver is not None]
        await asyncio.gather(*(driver.end(self._config.stop_grace_s) for driver in running))
        for driver in running:
            forget(self._config, driver.record.job_id)

    # ---- what an earlier control plane left

    async def _take_over(self) -> None:
        """Go on with drivers that still run and can reach this control plane; end those that cannot or need not."""
        opened = {job.id: job for job in await self._database.read(_open_jobs)}
        for driver in find_recorded(self._config):
            record = driver.record
            job = opened.get(record.job_id)
            if driver.is_alive and job is not None and self._is_current(driver, job):
                logger.info("job %s: its driver (process %d) is still running", job.id, record.process.pid)
                self._jobs[job.id] = _Supervision(driver=driver)
                continue
            await driver.end(self._config.stop_grace_s)
            forget(self._config, record.job_id)

    def _is_current(self, driver: DriverProcess, job: Job) -> bool:
        record = driver.record
        return record.attempt == job.attempt and record.operator_address == self._config.operator_address

    # ---- one job

    async def _supervise(self, job: Job) -> None:
        entry = self._jobs.setdefault(job.id, _Supervision())
        if entry.driver is not None and not entry.driver.is_alive:
            await self._note_death(job, entry)
            return  # the job may just have ended: look at it again
        if job.cancel_requested:
            await self._cancel(job, entry)
        elif entry.driver is None and self._may_start(entry):
            await self._start(job, entry)

    def _may_start(self, entry: _Supervision) -> bool:
        running = sum(other.driver is not None for other in self._jobs.values())
        return running < self._config.max_drivers and _clock_s() >= entry.not_before_s

    async def _start(self, job: Job, entry: _Supervision) -> None:
        def begin(session: Session) -> int | None:
            current = session.jobs.get(job.id)
            if current.state.is_terminal or current.cancel_requested:
                return None
            # The attempt is raised before the process exists: an older driver is refused from here on.
            begun = replace(current, state=JobState.RUNNING, attempt=current.attempt + 1, updated_at_ms=session.now_ms)
            session.jobs.put(begun)
            return begun.attempt

        attempt = await self._database.write(begin)
        if attempt is None:
            return
        try:
            # Not in a thread: cancelled while it waits, this would never learn of the process.
            entry.driver = spawn_driver(self._config, job.id, attempt, self._command(self._config, job.id, attempt))
        except OSError as error:
            logger.warning("job %s: its driver could not be started: %s", job.id, error)
            await self._count_death(job, entry, f"could not be started: {error}")
            return
        logger.info("job %s: attempt %d is process %d", job.id, attempt, entry.driver.record.process.pid)

    async def _note_death(self, job: Job, entry: _Supervision) -> None:
        """A driver is gone. Its job may have ended first; if not, it died."""
        driver = entry.driver
        assert driver is not None
        await driver.end(self._config.stop_grace_s)  # what it started may outlive it
        entry.driver = None
        forget(self._config, job.id)
        current = await self._database.read(lambda session: session.jobs.get(job.id))
        if not current.state.is_terminal:
            logger.warning("job %s: attempt %d %s", job.id, driver.record.attempt, driver.end_words)
            await self._count_death(current, entry, driver.end_words)

    async def _count_death(self, job: Job, entry: _Supervision, words: str) -> None:
        entry.deaths += 1
        pause_s = min(MAX_BACKOFF_S, self._config.restart_backoff_s * 2.0 ** (entry.deaths - 1))
        entry.not_before_s = _clock_s() + pause_s
        if job.cancel_requested:
            await self._finish(job.id, JobState.CANCELLED, "cancelled")
        elif entry.deaths >= self._config.max_driver_deaths:
            tail = await asyncio.to_thread(log_tail, self._config, job.id)
            message = (
                f"the driver {words}, as it did {entry.deaths} times before an end of the job; its last words:\n{tail}"
            )
            await self._finish(job.id, JobState.FAILED, message)

    async def _cancel(self, job: Job, entry: _Supervision) -> None:
        """The driver is told so by the operators' service and may end by itself; it is not waited for for ever."""
        if entry.driver is None:
            await self._finish(job.id, JobState.CANCELLED, "cancelled")
            return
        entry.cancel_since_s = _clock_s() if entry.cancel_since_s is None else entry.cancel_since_s
        if _clock_s() - entry.cancel_since_s >= self._config.cancel_grace_s:
            await entry.driver.end(self._config.stop_grace_s)

    async def _release(self, opened: set[str]) -> None:
        """Jobs that have ended: their drivers have nothing left to do, and get a moment to notice."""
        for job_id in [job_id for job_id in self._jobs if job_id not in opened]:
            driver = self._jobs[job_id].driver
            if driver is not None:
                if driver.is_alive and not self._has_lingered(job_id):
                    continue
                await driver.end(self._config.stop_grace_s)
                forget(self._config, job_id)
            del self._jobs[job_id]

    def _has_lingered(self, job_id: str) -> bool:
        entry = self._jobs[job_id]
        entry.cancel_since_s = _clock_s() if entry.cancel_since_s is None else entry.cancel_since_s
        return _clock_s() - entry.cancel_since_s >= self._config.cancel_grace_s

    async def _finish(self, job_id: str, state: JobState, message: str) -> None:
        def write(session: Session) -> None:
            job = session.jobs.get(job_id)
            if not job.state.is_terminal:
                session.jobs.put(
                    replace(job, state=state, message=message[-MESSAGE_LIMIT:], updated_at_ms=session.now_ms)
                )

        await self._database.write(write)
        logger.info("job %s %s: %s", job_id, state.value, message.splitlines()[0])


def _clock_s() -> float:
    return asyncio.get_running_loop().time()


def _open_jobs(session: Session) -> list[Job]:
    """Jobs that have not ended, the oldest first."""
    return session.jobs.list(states=[JobState.QUEUED, JobState.RUNNING])[::-1]
