"""Everything the agent says to the control plane, each in a loop of its own, and none of it needed to serve.

A loop waits for its own reason to talk, tries, and backs off with jitter when the control plane is away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from edge_agent import life as words
from edge_agent.client import ControlPlaneClient
from edge_agent.crashpoints import reach
from edge_agent.errors import DiskFullError, RefusedError, SpoolError, TransientError
from edge_agent.life import TERMINAL, Report
from edge_agent.messages import read_assignment, write_report, write_sync
from edge_agent.push import push_samples, push_telemetry
from protos import fleet_pb2 as pb

if TYPE_CHECKING:
    from edge_agent.agent import Agent

logger = logging.getLogger(__name__)

LONGEST_SYNC_INTERVAL_S = 3600.0
RESTART_S = 5.0
RECENT_S = 30.0


class Uplink:
    def __init__(self, agent: Agent, client: ControlPlaneClient) -> None:
        self._agent = agent
        self._client = client
        self._sync_now = asyncio.Event()
        self._reports_ready = asyncio.Event()
        self._benchmark_reports: dict[str, pb.BenchmarkReport] = {}
        self._delivered: dict[str, float] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._is_reachable: bool | None = None

    def start(self) -> None:
        loops = (self._sync_loop, self._watch_loop, self._report_loop, self._push_loop)
        self._tasks = [asyncio.create_task(_restarted(loop), name=loop.__name__) for loop in loops]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []

    def wake_reports(self) -> None:
        self._reports_ready.set()

    def sync_now(self) -> None:
        self._sync_now.set()

    def report_benchmark(self, report: pb.BenchmarkReport) -> None:
        self._benchmark_reports[report.id] = report
        self._reports_ready.set()

    def has_benchmark(self, benchmark_id: str) -> bool:
        """Whether its result waits to be acknowledged, or was so lately that a sync under way may still ask for it."""
        delivered_at = self._delivered.get(benchmark_id)
        is_recent = delivered_at is not None and time.monotonic() - delivered_at < RECENT_S
        return benchmark_id in self._benchmark_reports or is_recent

    async def _sync_loop(self) -> None:
        backoff = self._agent.new_backoff()
        while True:
            self._sync_now.clear()
            try:
                wait_s = await self._sync()
                backoff.reset()
            except (TransientError, RefusedError) as error:
                self._note_reachable(False, error)
                wait_s = getattr(error, "retry_after_s", None) or backoff.next_s()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):  # wait_for, before Python 3.12, may swallow a cancellation
                    await self._sync_now.wait()

    async def _sync(self) -> float:
        """One reconciliation; returns when the next routine one is due."""
        agent = self._agent
        request = write_sync(
            agent.config, agent.life, boot_id=agent.boot_id, running=agent.running, facts=agent.facts()
        )
        response = await self._client.sync(request)
        self._note_reachable(True)
        agent.samples.set_quota(wanted=response.sample_quota.wanted, remaining=response.sample_quota.remaining)
        if response.committed_generation:
            agent.probation.count()
            agent.dispatch(words.ProbationPassed(response.committed_generation))
        if response.HasField("assignment"):
            agent.dispatch(words.Assigned(read_assignment(response.assignment)))
        agent.benchmarks.offer(response.benchmarks)
        agent.restore_broken()
        if agent.life.outbox:
            self._reports_ready.set()
        if 0 < response.sync_after_s <= LONGEST_SYNC_INTERVAL_S:
            return response.sync_after_s
        return agent.jitter(agent.config.control_plane.sync_interval_s)

    async def _watch_loop(self) -> None:
        """Turn doorbells into syncs. A stream that ends is dialled again; the routine sync covers what it missed."""
        backoff = self._agent.new_backoff()
        while True:
            wait_s = None
            try:
                async with aclosing(self._client.watch(self._agent.boot_id)) as doorbells:
                    async for doorbell in doorbells:
                        backoff.reset()
                        kind = doorbell.WhichOneof("kind")
                        if kind in ("hello", "sync_now"):
                            self._sync_now.set()
                        elif kind == "goodbye":
                            wait_s = self._agent.jitter(min(max(doorbell.goodbye.retry_after_s, 0.0), 600.0))
            except (TransientError, RefusedError) as error:
                logger.debug("watch ended: %s", error)
            await asyncio.sleep(backoff.next_s() if wait_s is None else wait_s)

    async def _report_loop(self) -> None:
        backoff = self._agent.new_backoff()
        while True:
            await self._reports_ready.wait()
            self._reports_ready.clear()
            try:
                while await self._send_one_report():
                    backoff.reset()
            except TransientError as error:
                await asyncio.sleep(error.retry_after_s or backoff.next_s())
                self._reports_ready.set()

    async def _send_one_report(self) -> bool:
        """Send what waits longest; False where nothing waits. What the control plane refuses for good is dropped."""
        agent = self._agent
        if agent.life.outbox:
            report = agent.life.outbox[0]
            await self._deliver(write_report(report, agent.boot_id), _name(report))
            agent.dispatch(words.ReportAcknowledged(report.action_id, report.seq))
            if report.state in TERMINAL:
                self._sync_now.set()  # which says what runs now, and asks what is next
            return True
        if self._benchmark_reports:
            benchmark_id, benchmark = next(iter(self._benchmark_reports.items()))
            await self._deliver(
                pb.ReportRequest(boot_id=agent.boot_id, benchmark=benchmark), f"benchmark {benchmark_id}"
            )
            self._benchmark_reports.pop(benchmark_id, None)
            self._delivered = {key: at for key, at in self._delivered.items() if time.monotonic() - at < RECENT_S}
            self._delivered[benchmark_id] = time.monotonic()
            return True
        return False

    async def _deliver(self, request: pb.ReportRequest, name: str) -> None:
        try:
            await self._client.report(request)
        except RefusedError as error:
            logger.warning("the control plane refused the report of %s: %s", name, error)
        reach("report-sent")

    async def _push_loop(self) -> None:
        """At the end of each window: close it, then push everything that waits."""
        agent = self._agent
        while True:
            await asyncio.sleep(agent.config.telemetry.window_s)
            try:
                agent.close_window()
            except (OSError, DiskFullError) as error:
                logger.error("a telemetry window is lost: %s", error)
            try:
                await push_telemetry(self._client, agent.telemetry)
                await push_samples(self._client, agent.samples)
            except (TransientError, RefusedError) as error:
                logger.debug("push: %s", error)
            except (SpoolError, OSError) as error:
                logger.error("telemetry cannot be pushed: %s", error)

    def _note_reachable(self, is_reachable: bool, error: Exception | None = None) -> None:
        """Log the change, not every attempt."""
        if is_reachable and not self._is_reachable:
            logger.info("in touch with the control plane at %s", self._agent.config.control_plane.address)
        elif not is_reachable and self._is_reachable is not False:
            logger.warning("out of touch with the control plane, serving on: %s", error)
        self._is_reachable = is_reachable


async def _restarted(loop: Callable[[], Awaitable[None]]) -> None:
    """A loop ends by being cancelled; anything else is a bug that must be seen and must not silence the device."""
    while True:
        try:
            await loop()
        except Exception:
            logger.exception("a loop of the uplink ended unexpectedly and begins again")
        await asyncio.sleep(RESTART_S)


def _name(report: Report) -> str:
    return f"{report.state.name.lower()} (action {report.action_id}, generation {report.generation})"
