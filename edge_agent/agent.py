"""The shell around the state machine: performs its actions, feeds it their answers, and holds the parts together.

Each event is journalled before its actions begin. One piece of work runs at a time, and its heavy parts in one thread.
The model that served last is loaded and serving before anything is dialled.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import random
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from edge_agent import life as words
from edge_agent.benchmark import BenchmarkDesk
from edge_agent.client import Backoff, ControlPlaneClient
from edge_agent.config import AgentConfig
from edge_agent.crashpoints import reach
from edge_agent.errors import ConfigError, ModelError
from edge_agent.facts import REFERENCE_WARNING, device_facts
from edge_agent.feedback import PendingLabels
from edge_agent.journal import Journal
from edge_agent.library import ModelLibrary
from edge_agent.life import AT_REST, Event, Life, ModelRef, State
from edge_agent.probation_watch import ProbationWatch
from edge_agent.samples import SampleKeeper
from edge_agent.service import LocalServer
from edge_agent.serving import ModelHost
from edge_agent.state import candidate, deadline, step
from edge_agent.store import BlobStore
from edge_agent.telemetry import TelemetryLog, WindowRecorder, rss_bytes, wall_clock_ms
from edge_agent.uplink import Uplink
from edge_agent.verify import ArtifactVerifier
from edge_agent.work import Worker
from protos import fleet_pb2 as pb

logger = logging.getLogger(__name__)

JOURNAL_RETRY_S = 5.0
STOP_GRACE_S = 2.0

_Result = TypeVar("_Result")


class Agent:
    def __init__(self, config: AgentConfig, *, rng: random.Random | None = None) -> None:
        self.config = config
        self.boot_id = os.urandom(16).hex()
        self._rng = rng or random.Random()
        state_dir = config.device.state_dir
        state_dir.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(config)
        self._journal = Journal(state_dir)
        self._client = ControlPlaneClient(config.control_plane, config.device.id)
        store = BlobStore(state_dir / "blobs")
        verifier = ArtifactVerifier(store, config.limits, config.engine)
        self._library = ModelLibrary(store, verifier, self._client, self.new_backoff, self._in_thread)
        self.recorder = WindowRecorder(wall_clock_ms(), time.process_time())
        self.telemetry = TelemetryLog(state_dir / "telemetry", max_bytes=config.telemetry.spool_bytes)
        self.samples = SampleKeeper(state_dir / "samples", config.samples)
        self.host = ModelHost(
            self.recorder,
            PendingLabels(config.feedback),
            self.samples,
            latency_limit_ms=config.limits.latency_p95_ms,
            on_pair=lambda probation: self.probation.on_pair(probation),
        )
        self.probation = ProbationWatch(
            self.host, lambda: self.life, self.dispatch, interval_s=config.control_plane.report_interval_s
        )
        self._worker = Worker(self._library, self.host, self.dispatch)
        self.server = LocalServer(self.host, config.serving)
        self.uplink = Uplink(self, self._client)
        self.benchmarks = BenchmarkDesk(
            self._library,
            self._in_thread,
            device_class=config.device.device_class,
            is_idle=lambda: self.life.state in AT_REST,
            report=self._report_benchmark,
            is_reported=self.uplink.has_benchmark,
        )
        self.life = Life()
        self._events: deque[Event] = deque()
        self._is_draining = False
        self._tick_timer: asyncio.TimerHandle | None = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="work")

    async def start(self) -> None:
        """Serve the last good model, then take up the action that was under way, then dial out."""
        self._check_engine()
        entry = self._journal.read()
        self.life = entry.life
        await self._load_current()
        await self.server.start()
        logger.info("device %s listens on %s", self.config.device.id, self.server.address)
        self._journal.write(self.life, self.life.entered_at + entry.spent_s)
        self.dispatch(words.Resumed(was_clean=entry.was_clean, spent_s=entry.spent_s))
        self.uplink.start()

    async def stop(self) -> None:
        """End in order: nothing is lost, and the next start knows that this was no crash."""
        await self.uplink.stop()
        await self.benchmarks.stop()
        await self._worker.stop()
        await self.server.stop(STOP_GRACE_S)
        self.probation.cancel()
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        self._executor.shutdown()
        self.close_window()
        self.telemetry.close()
        self.samples.close()
        self._journal.write(self.life, time.monotonic(), is_clean_end=True)
        await self._client.close()
        os.close(self._lock)

    def new_backoff(self) -> Backoff:
        control_plane = self.config.control_plane
        return Backoff(control_plane.backoff_initial_s, control_plane.backoff_cap_s, self._rng)

    def jitter(self, seconds: float) -> float:
        return seconds * self._rng.uniform(0.8, 1.2)

    @property
    def running(self) -> ModelRef | None:
        return self.host.current.ref if self.host.current else None

    def facts(self) -> pb.DeviceFacts:
        from edge_agent.runtime import available_paths, choose_path

        path = self.host.current.engine.path if self.host.current else choose_path(self.config.engine.path or None)
        return device_facts(self.config, engine_path=path, engine_paths=available_paths())

    def close_window(self) -> None:
        """End the telemetry window that is open, if there is a model to say anything about.

        Also gives back the memory that the window's requests have freed: gigabytes of images may have passed through
        the heap, which keeps its largest extent otherwise.
        """
        from edge_agent.runtime.native import trim_heap

        if self.host.current is None:
            return
        windows = self.recorder.close(
            wall_clock_ms(),
            serving=self.host.current.digest,
            cpu_seconds=time.process_time(),
            rss_bytes=rss_bytes(),
        )
        self.telemetry.append(windows)
        trim_heap()

    # Events in, actions out.

    def dispatch(self, event: Event) -> None:
        """Feed the state machine; journals before anything happens."""
        self._events.append(event)
        if self._is_draining:
            return
        self._is_draining = True
        try:
            while self._events:
                self._advance(self._events.popleft())
        finally:
            self._is_draining = False
        self._arm_tick()

    def _advance(self, event: Event) -> None:
        now = time.monotonic()
        result = step(self.life, event, now, self.config.timeouts)
        if result.life is not self.life:
            try:
                self._journal.write(result.life, now)
            except OSError as error:
                logger.error("cannot write the journal, trying again in %.0f s: %s", JOURNAL_RETRY_S, error)
                asyncio.get_running_loop().call_later(JOURNAL_RETRY_S, self.dispatch, event)
                return
            if result.life.state is not self.life.state:
                self._log_state(result.life)
        self.life = result.life
        for action in result.actions:
            self._perform(action)

    def _perform(self, action: words.Action) -> None:
        match action:
            case words.Prepare() | words.Download() | words.Verify() | words.Stage() | words.Activate():
                self.benchmarks.cancel()
                self._worker.begin(action)
            case words.StartPairing(_, terms, pairs):
                self.host.start_pairing(terms, pairs)
                self.probation.restart()
                self.uplink.sync_now()  # a verdict may have come while the model was being loaded again
            case words.Promote():
                self._promote()
            case words.Revert():
                self.host.revert()
                self._worker.forget()
                self._collect_garbage()
            case words.CancelWork():
                self._worker.cancel()
            case words.SendReports():
                self.uplink.wake_reports()

    def _promote(self) -> None:
        reach("before-promote")
        self.host.promote()
        reach("promoted")
        self._worker.forget()
        self._collect_garbage()

    async def _in_thread(self, call: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def _check_engine(self) -> None:
        from edge_agent.runtime import available_paths, choose_path

        path = choose_path(self.config.engine.path or None)
        if available_paths() == ("reference",):
            logger.warning(REFERENCE_WARNING)
        elif path == "reference":
            logger.warning("the numpy reference was asked for: models run correctly but slowly")

    # The model that served last.

    async def _load_current(self) -> None:
        """Load the current model, or the previous where the current no longer verifies."""
        while (current := self.life.current) is not None:
            try:
                self.host.serve(await self._library.verify(current))
                return
            except (ModelError, MemoryError) as error:
                logger.error("the current model %s no longer verifies: %s", current.digest[:12], error)
                self.life = step(self.life, words.CurrentBroken(current.digest), 0.0, self.config.timeouts).life

    def restore_broken(self) -> None:
        """Fetch the model again that no longer verified at the start; called while the control plane is there."""
        if self.life.broken is not None and self.life.state in AT_REST:
            self._worker.restore(self.life.broken)

    def _collect_garbage(self) -> None:
        """Keep what serves, may serve again, is on its way or is to be measured."""
        life = self.life
        self._library.keep_only((life.current, life.previous, life.broken, candidate(life), *self.benchmarks.models))

    def _arm_tick(self) -> None:
        """Have the state machine look at the clock when its present state times out, and not before."""
        if self._tick_timer is not None:
            self._tick_timer.cancel()
            self._tick_timer = None
        due = deadline(self.life, self.config.timeouts)
        if due is not None:
            wait_s = max(0.0, due - time.monotonic()) + 0.01
            self._tick_timer = asyncio.get_running_loop().call_later(wait_s, self._tick)

    def _tick(self) -> None:
        self._tick_timer = None
        self.probation.count()
        self.dispatch(words.Tick())

    def _report_benchmark(self, report: pb.BenchmarkReport) -> None:
        self.uplink.report_benchmark(report)
        self._collect_garbage()

    def _log_state(self, life: Life) -> None:
        model = life.assignment.model.digest[:12] if life.assignment else "none"
        detail = life.outbox[-1].detail if life.outbox else ""
        level = logging.WARNING if life.state in (State.FAILED, State.ROLLED_BACK, State.REJECTED) else logging.INFO
        name = life.state.name.lower()
        logger.log(
            level, "generation %d, model %s: %s%s", life.generation, model, name, f": {detail}" if detail else ""
        )


def _lock(config: AgentConfig) -> int:
    """Claim the state folder; the lock ends with the process, however it ends."""
    path = config.device.state_dir / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ConfigError(f"another agent uses {config.device.state_dir}; give each its own device.state_dir") from None
    return descriptor
