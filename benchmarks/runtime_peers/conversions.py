"""Keeps converted models by the digest of what they were made from, so that a second run converts nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from runtime_peers import environments
from runtime_peers.catalogue import MEASURED, Peer
from runtime_peers.environments import BENCHMARKS, CACHE, REPOSITORY

HERE = Path(__file__).parent
OUR_CONVERTER = ["orchestrator/compression", "orchestrator/datasets", "edge_agent/runtime/*.py", "protos"]
# Beside the model itself in a conversion's folder.
HELPER_FILES = {"samples.bin", "expected.bin"}


class ConversionError(RuntimeError):
    """A runtime's converter refused a network; the message is the last line of what it said."""


def ensure(network: str, peer: Peer, python: Path, say: Callable[[str], None]) -> Path:
    """The folder with the network converted for the peer.

    Raises:
        ConversionError: it could not be converted.
    """
    ours = peer.module == "espalier"
    name = f"{network}-{peer.module}-{peer.precision}"
    folder = CACHE / "models" / f"{name}-{_digest(network, peer)}"
    if (folder / "expected.bin").exists():
        return folder
    say(f"converting {name}")
    for stale in folder.parent.glob(f"{name}-*"):
        shutil.rmtree(stale)
    work = folder.with_suffix(".partial")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    # Ours is converted where the heavy side is installed, and run where only the edge is.
    interpreter = sys.executable if ours else str(python)
    command = [interpreter, "-m", "runtime_peers.convert", peer.module, network, peer.precision, str(work)]
    done = subprocess.run(command, env=environment_variables(ours), capture_output=True, text=True)
    if done.returncode:
        shutil.rmtree(work)
        raise ConversionError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    work.rename(folder)
    return folder


def _digest(network: str, peer: Peer) -> str:
    sources = [HERE / "networks.py", HERE / "convert.py", HERE / "peers" / f"{peer.module}.py"]
    requirements = environments.requirements_digest(peer.environment)
    if peer.module == "espalier":
        requirements = ""
        sources += [file for pattern in OUR_CONVERTER for file in sorted(REPOSITORY.glob(pattern))]
    parts = [requirements, repr(MEASURED[network]), peer.precision, environments.tree_digest(sources)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def environment_variables(with_repository: bool = False) -> dict[str, str]:
    paths = [str(BENCHMARKS), *([str(REPOSITORY)] if with_repository else [])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}


def model_bytes(folder: Path, ours: bool) -> int:
    """Size of the model's files; of ours without the golden vectors, which a device checks and need not keep."""
    files = [file for file in folder.iterdir() if file.name not in HELPER_FILES]
    golden = _golden_name(folder) if ours else None
    return sum(file.stat().st_size for file in files if file.name != golden)


def _golden_name(folder: Path) -> str | None:
    from edge_agent.runtime import parse_model

    golden = parse_model((folder / "model.pb").read_bytes()).golden
    return golden.sha256.hex() if golden else None
