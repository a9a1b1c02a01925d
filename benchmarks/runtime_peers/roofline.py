"""What one core can do at most, measured by `roofline.cc`, which is built here for this very CPU."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from pathlib import Path

from runtime_peers.environments import CACHE

SOURCE = Path(__file__).with_name("roofline.cc")
# The int8 peak that percentages are of, widest first. Tile units are told apart: no vector instruction reaches theirs.
VECTOR_PEAKS = ("vnni512_gmac_s", "vnni256_gmac_s", "neon_dot_gmac_s", "avx2_madd_gmac_s")
TILE_PEAK = "amx_int8_gmac_s"


class RooflineError(RuntimeError):
    """No compiler, or the program failed."""


def measure(cpu: int) -> dict[str, float]:
    """Giga multiply-accumulates and gigabytes per second by name, on one CPU."""
    try:
        done = subprocess.run([_program()], capture_output=True, text=True, preexec_fn=_pin_to(cpu), check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise RooflineError(f"roofline not measured: {error}") from error
    return {name: float(value) for name, value in (line.split() for line in done.stdout.splitlines())}


def _program() -> Path:
    compiler = os.environ.get("CXX", "c++")
    digest = hashlib.sha256(SOURCE.read_bytes() + compiler.encode() + _cpu().encode()).hexdigest()[:16]
    program = CACHE / "roofline" / digest
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        partial = program.with_suffix(".partial")
        command = [compiler, "-std=c++17", "-O3", "-march=native", "-o", str(partial), str(SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RooflineError(f"roofline not built: {done.stderr.strip()}")
        partial.rename(program)
    return program


def _pin_to(cpu: int):
    return lambda: os.sched_setaffinity(0, [cpu])


def _cpu() -> str:
    """Model and instruction sets; a cached program would not run on another CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def cpu_name() -> str:
    names = [line.partition(":")[2].strip() for line in _cpu().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def vector_peak(figures: dict[str, float]) -> float | None:
    return next((figures[name] for name in VECTOR_PEAKS if name in figures), None)


def percent_of_peak(macs: int, median_us: float, peak_gmac_s: float | None) -> float | None:
    return 100 * macs / (median_us * 1e3 * peak_gmac_s) if peak_gmac_s and median_us else None
