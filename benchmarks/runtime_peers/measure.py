"""Times many runtimes on one network in interleaved rounds: one process each, all but the measured one stopped."""

from __future__ import annotations

import json
import os
import select
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runtime_peers.catalogue import Peer
from runtime_peers.conversions import environment_variables

ANSWER_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Effort:
    """How long to measure: every round takes `samples`, or as many as `seconds` allow."""

    rounds: int
    samples: int
    seconds: float
    cold_starts: int


# Together at least 300 samples, or 3 seconds where a call is slow.
FULL = Effort(rounds=6, samples=60, seconds=0.5, cold_starts=5)
QUICK = Effort(rounds=2, samples=20, seconds=0.1, cold_starts=1)


@dataclass(frozen=True)
class Candidate:
    """A peer with its model for one network, ready to be started."""

    name: str
    peer: Peer
    python: Path
    folder: Path


@dataclass
class Result:
    """What was measured of one candidate; `error` instead where it failed."""

    median_us: float = 0.0
    p99_us: float = 0.0
    samples: int = 0
    round_medians_us: list[float] = field(default_factory=list)
    correlation: float = 0.0
    peak_mib: float = 0.0
    engine_path: str = ""
    error: str = ""


class WorkerError(RuntimeError):
    """The measured process ended or did not answer."""


class Worker:
    """A measured process. It runs only while it owes an answer; otherwise it is stopped with all its threads."""

    def __init__(self, candidate: Candidate, threads: int, cpus: Sequence[int]) -> None:
        # -P: ours too is what was installed, not the sources in the folder that this happens to be started from.
        command = [str(candidate.python), "-P", "-m", "runtime_peers.worker", candidate.peer.module]
        command += [str(candidate.folder)]
        command += [str(threads), ",".join(map(str, cpus)), candidate.peer.path]
        self._started = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment_variables(), "OMP_NUM_THREADS": str(threads)},
        )
        self._said = b""
        try:
            self.ready = self._answer()
        except WorkerError:
            self.close()
            raise
        self.ready_ms = (time.perf_counter() - self._started) * 1e3

    def ask(self, question: str) -> dict:
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.stdin.write(f"{question}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError(self._last_words()) from None
        return self._answer()

    def _answer(self) -> dict:
        """The next line of the process, which is then stopped. Reads stderr too, lest a full pipe block it."""
        line = bytearray()
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        pipes = [self._process.stdout, self._process.stderr]
        while not line.endswith(b"\n"):
            ready, _, _ = select.select(pipes, [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise WorkerError(f"no answer within {ANSWER_TIMEOUT_S:.0f} s")
            for pipe in ready:
                data = os.read(pipe.fileno(), 65536)
                if not data:
                    pipes.remove(pipe)
                elif pipe is self._process.stderr:
                    self._said = (self._said + data)[-4096:]
                else:
                    line += data
            if self._process.stdout not in pipes:
                raise WorkerError(self._last_words())
        self._process.send_signal(signal.SIGSTOP)
        return json.loads(line)

    def _last_words(self) -> str:
        self._process.wait(ANSWER_TIMEOUT_S)
        said = (self._said + self._process.stderr.read()).decode(errors="replace").strip().splitlines()
        return said[-1] if said else f"exit code {self._process.returncode}"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            pipe.close()


def compare(
    candidates: Sequence[Candidate], threads: int, cpus: Sequence[int], effort: Effort, say: Callable[[str], None]
) -> dict[str, Result]:
    """Medians of one call of each candidate on one network."""
    results = {candidate.name: Result() for candidate in candidates}
    times: dict[str, list[float]] = {name: [] for name in results}
    workers: dict[str, Worker] = {}
    try:
        for candidate in candidates:
            _start(candidate, threads, cpus, workers, results)
        for round_index in range(effort.rounds):
            order = list(workers)
            # Not always after the same neighbour, and never always first.
            order = order[round_index % max(1, len(order)) :] + order[: round_index % max(1, len(order))]
            for name in order:
                say(f"round {round_index + 1}/{effort.rounds} {name}")
                _round(name, workers, results, times, effort)
    finally:
        for worker in workers.values():
            worker.close()
    for name, sampled in times.items():
        if sampled and not results[name].error:
            ordered = sorted(sampled)
            results[name].median_us = statistics.median(ordered)
            results[name].p99_us = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
            results[name].samples = len(ordered)
    return results


def _start(
    candidate: Candidate, threads: int, cpus: Sequence[int], workers: dict[str, Worker], results: dict[str, Result]
) -> None:
    result = results[candidate.name]
    try:
        worker = Worker(candidate, threads, cpus)
        workers[candidate.name] = worker
        result.engine_path = worker.ready["engine_path"]
        result.correlation = worker.ask("agree")["correlation"]
    except WorkerError as error:
        result.error = str(error)
        if candidate.name in workers:
            workers.pop(candidate.name).close()


def _round(
    name: str, workers: dict[str, Worker], results: dict[str, Result], times: dict[str, list[float]], effort: Effort
) -> None:
    try:
        answer = workers[name].ask(f"measure {effort.samples} {effort.seconds}")
    except WorkerError as error:
        results[name].error = str(error)
        workers.pop(name).close()
        return
    times[name] += answer["us"]
    results[name].round_medians_us.append(statistics.median(answer["us"]))
    results[name].peak_mib = answer["peak_mib"]


@dataclass(frozen=True)
class ColdStart:
    """A fresh process up to its first result, page cache warm: medians over the starts."""

    wall_ms: float
    import_and_load_ms: float
    peak_mib: float


def cold_start(candidate: Candidate, cpus: Sequence[int], effort: Effort) -> ColdStart:
    """Raises `WorkerError`."""
    walls, loads, peaks = [], [], []
    for index in range(effort.cold_starts + 1):
        worker = Worker(candidate, 1, cpus)
        worker.close()
        if index:  # the first one warms the page cache
            walls.append(worker.ready_ms)
            loads.append(worker.ready["load_ms"] + worker.ready["first_ms"])
            peaks.append(worker.ready["peak_mib"])
    return ColdStart(statistics.median(walls), statistics.median(loads), statistics.median(peaks))
