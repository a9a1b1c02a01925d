"""The measured process: one peer, one network, one number of threads. Runs in the peer's environment.

    python -m runtime_peers.worker MODULE FOLDER THREADS CPUS [PATH]

Pins itself, loads, runs once and prints a line of JSON; then answers `measure SAMPLES SECONDS` and `agree` on standard
input with a line each, and ends with the input. Imports only what starting needs: the first line is the cold start.
"""

from __future__ import annotations

import os
import sys
import time

STARTED_NS = time.perf_counter_ns()
WARM_UP_S = 0.02
# Shorter calls are repeated within one sample, so that reading the clock does not count.
SAMPLE_NS = 20_000


def main(module: str, folder_name: str, threads: str, cpus: str, path: str = "") -> None:
    os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
    import importlib
    import json
    from pathlib import Path

    # What the runtime or its libraries print must not end up among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: object) -> None:
        print(json.dumps(values), file=answers, flush=True)

    if path == "no-tiles":
        from runtime_peers.tiles import forgo_tiles

        forgo_tiles()
        path = ""
    folder = Path(folder_name)
    peer = importlib.import_module(f"runtime_peers.peers.{module}")
    samples = _samples(folder, peer.SAMPLE_COUNT)
    loading_ns = time.perf_counter_ns()
    session = peer.Session(folder, int(threads), path)
    session.bind(samples[0])
    first_ns = time.perf_counter_ns()
    session.call()
    done_ns = time.perf_counter_ns()
    answer(
        start_ms=(loading_ns - STARTED_NS) / 1e6,
        load_ms=(first_ns - loading_ns) / 1e6,
        first_ms=(done_ns - first_ns) / 1e6,
        peak_mib=_peak_mib(),
        engine_path=getattr(session, "engine_path", ""),
    )
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "agree":
            answer(correlation=_agreement(session, samples, folder))
        else:
            answer(us=measure(session.call, int(arguments[0]), float(arguments[1])), peak_mib=_peak_mib())


def _samples(folder, count: int) -> list[bytes]:
    data = (folder / "samples.bin").read_bytes()
    size = len(data) // count
    return [data[i * size : (i + 1) * size] for i in range(count)]


def _peak_mib() -> float:
    # Not ru_maxrss: Linux starts it at what the parent had.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def measure(call, samples: int, seconds: float) -> list[float]:
    """Microseconds of one call, `samples` times or as often as `seconds` allow, after a short warm-up."""
    clock = time.perf_counter_ns
    fastest_ns = _warm_up(call)
    repeats = range(max(1, int(SAMPLE_NS / fastest_ns)))
    times_us = []
    end_ns = clock() + int(seconds * 1e9)
    while len(times_us) < samples and (not times_us or clock() < end_ns):
        start_ns = clock()
        for _ in repeats:
            call()
        times_us.append((clock() - start_ns) / 1e3 / len(repeats))
    return times_us


def _warm_up(call) -> int:
    clock = time.perf_counter_ns
    fastest_ns = 1 << 62
    end_ns = clock() + int(WARM_UP_S * 1e9)
    while True:
        start_ns = clock()
        call()
        now_ns = clock()
        fastest_ns = min(fastest_ns, now_ns - start_ns)
        if now_ns > end_ns:
            return max(1, fastest_ns)


def _agreement(session, samples: list[bytes], folder) -> float:
    """Correlation of all outputs with what the float network gives; shows that the right network was converted."""
    import array

    expected = array.array("f", (folder / "expected.bin").read_bytes()).tolist()
    found: list[float] = []
    for sample in samples:
        session.bind(sample)
        session.call()
        found += session.output()
    return correlation(found, expected)


def correlation(a: list[float], b: list[float]) -> float:
    if len(a) != len(b):
        raise ValueError(f"{len(a)} outputs, expected {len(b)}")
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    covariance = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    spread = (sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)) ** 0.5
    return covariance / spread if spread else 0.0


if __name__ == "__main__":
    main(*sys.argv[1:])
