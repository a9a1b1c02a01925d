"""Builds the peers' Python environments with pip, one each where pins clash; says what a runtime weighs on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "espalier" / "peers"
REPOSITORY = Path(__file__).resolve().parents[2]
BENCHMARKS = REPOSITORY / "benchmarks"

TORCH = ["torch==2.13.0", "numpy==2.4.6"]
ENVIRONMENTS = {
    "litert": [*TORCH, "ai-edge-litert==2.3.0", "ai-edge-quantizer==0.10.0", "litert-torch==0.10.0"],
    "onnx-openvino": [
        *TORCH,
        "nncf==3.4.0",
        "onnx==1.23.2",
        "onnxruntime==1.32.0",
        "onnxscript==0.7.2",
        "openvino==2026.4.1",
    ],
    "executorch": [*TORCH, "executorch==1.5.1", "torchao==0.18.0"],
    # Compressors that no runtime benchmark needs.
    "neural-compressor": [*TORCH, "neural-compressor-pt==3.10"],
    "torch-pruning": [*TORCH, "torch-pruning==1.6.1"],
    "imodels": ["imodels==3.0.4", "scikit-learn==1.9.1", "six==1.17.0"],  # six: needed but not declared
    "espalier": [],  # the checkout itself, as a device installs it
    "plot": ["matplotlib==3.11.2"],
}
# What a device would install to run the model, of the packages above.
RUNTIME_PACKAGES = {
    "litert": "ai-edge-litert",
    "openvino": "openvino",
    "onnxruntime": "onnxruntime",
    "executorch": "executorch",
    "espalier": "espalier-edge",
}
# Sends usage data; comes as a dependency of nncf and openvino, which do without it.
UNWANTED = "openvino-telemetry"


class BuildError(RuntimeError):
    """An environment could not be built; the message has the last lines of what pip said."""


def tree_digest(paths: list[Path]) -> str:
    """SHA-256 (hex) over the text of the source files under `paths`."""
    state = hashlib.sha256()
    for root in paths:
        files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.suffix in SOURCE_SUFFIXES)
        for file in files:
            state.update(f"{file.relative_to(REPOSITORY)}\0".encode())
            state.update(file.read_bytes())
    return state.hexdigest()


SOURCE_SUFFIXES = {".py", ".cc", ".cpp", ".h", ".hpp", ".proto", ".txt", ".toml", ".cmake"}
ENGINE_SOURCES = [REPOSITORY / name for name in ("edge_agent/runtime", "protos", "CMakeLists.txt", "pyproject.toml")]


def requirements_digest(name: str) -> str:
    if name == "espalier":
        return tree_digest([path for path in ENGINE_SOURCES if path.exists()])[:16]
    return hashlib.sha256("\n".join([sys.version, *ENVIRONMENTS[name]]).encode()).hexdigest()[:16]


def ensure(name: str, say: Callable[[str], None]) -> Path:
    """The Python of an environment, built if it is not there yet.

    Raises:
        BuildError: pip failed.
    """
    folder = CACHE / "environments" / f"{name}-{requirements_digest(name)}"
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    say(f"building environment {name} in {folder}")
    for stale in folder.parent.glob(f"{name}-*") if folder.parent.exists() else ():
        shutil.rmtree(stale)
    _run([sys.executable, "-m", "venv", str(folder)])
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "-q"]
    wanted = ENVIRONMENTS[name] or [str(REPOSITORY)]
    _run([*pip, "install", *wanted])
    _run([*pip, "uninstall", "-y", UNWANTED])
    if name == "espalier" and engine_paths(python) == ["reference"]:
        raise BuildError("the engine did not compile; `pip install .` in the checkout says why")
    (folder / "complete").touch()
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise BuildError(" | ".join(lines[-3:]) or f"exit code {done.returncode}")


# Run inside an environment: bytes of a distribution and of all that it requires, without what Python compiles.
_WEIGH = """
import importlib.metadata as m, json, re, sys
seen, todo, total, largest = set(), [sys.argv[1]], 0, {}
while todo:
    name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
    if name in seen: continue
    seen.add(name)
    try: d = m.distribution(name)
    except m.PackageNotFoundError: continue
    size = sum(p.stat().st_size for f in d.files or () if not str(f).endswith(".pyc") and (p := f.locate()).is_file())
    total += size; largest[name] = size
    for r in d.requires or ():
        marker = r.partition(";")[2]
        if "extra" not in marker: todo.append(re.match(r"[A-Za-z0-9_.-]+", r)[0])
print(json.dumps({"total": total, "numpy": largest.get("numpy", 0), "own": largest.get(sys.argv[1], 0)}))
"""


def weigh(python: Path, package: str) -> dict[str, int]:
    """Bytes on disk of a package with its declared dependencies, of numpy among them, and of the package alone."""
    done = subprocess.run([str(python), "-c", _WEIGH, package], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def engine_paths(python: Path) -> list[str]:
    """Names of our engine's instruction-set paths on this machine, best first."""
    code = "from edge_agent.runtime import available_paths; print(*available_paths())"
    # -P: what is installed there, not the sources in the folder that this happens to be started from.
    return subprocess.run([str(python), "-P", "-c", code], capture_output=True, text=True, check=True).stdout.split()
