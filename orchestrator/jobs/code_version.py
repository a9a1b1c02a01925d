"""Which code and which libraries compute a job: part of every stage's key, and more finely of a model's lineage.

Reads source files and package metadata only; nothing is imported, so a driver without torch can make keys.
"""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from edge_agent import __version__

# What can change a number in an artifact. The orchestration around it (this package) decides only what runs when.
_COMPUTING = ("orchestrator.compression", "orchestrator.datasets", "edge_agent.runtime")
_SOURCES = {".py", ".cpp", ".cc", ".h", ".hpp"}
_LIBRARIES = ("torch", "numpy", "protobuf")


@cache
def computing_code_digest() -> str:
    """SHA-256 (hex) over the sources of everything that computes."""
    state = hashlib.sha256()
    for package in _COMPUTING:
        for name, content in _sources(package):
            state.update(f"{package}/{name}\0{len(content)}\0".encode())
            state.update(content)
    return state.hexdigest()


@cache
def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that compute; "absent" where one is not installed."""
    versions = {"python": ".".join(platform.python_version_tuple()[:2])}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            versions[library] = "absent"
    return versions


@cache
def lineage_versions() -> dict[str, str]:
    """Espalier's own and Python's to the patch, beside the libraries: for people, a key would change too often."""
    return {**library_versions(), "espalier": __version__, "python": platform.python_version()}


def job_code_digest(working_dir_digest: str) -> str:
    """SHA-256 (hex) of the code of one job: ours and the user's working directory."""
    return hashlib.sha256(f"{computing_code_digest()} {working_dir_digest}".encode()).hexdigest()


def _sources(package: str) -> list[tuple[str, bytes]]:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return []
    root = Path(next(iter(spec.submodule_search_locations)))
    files = sorted(path for path in root.rglob("*") if path.suffix in _SOURCES and "__pycache__" not in path.parts)
    return [(path.relative_to(root).as_posix(), path.read_bytes()) for path in files]
