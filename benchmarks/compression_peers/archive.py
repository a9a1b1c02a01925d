"""Rows that were measured, on disk: a run of hours that was cut goes on where it ended (`--resume`).

They are kept under the digest of all that their figures depend on: sources, seeds of the run, versions, CPU and
threads. Whoever changes one of these measures anew; whoever changes a row's module, that row alone. So rows import
nothing of each other.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from runtime_peers.environments import BENCHMARKS, CACHE, ENGINE_SOURCES, REPOSITORY, tree_digest

from compression_peers.bench import Published
from compression_peers.results import Figure, Outcome
from compression_peers.row import Row
from compression_peers.teachers import write_whole
from edge_agent.facts import cpu_model
from orchestrator.compression.artifact import Artifact
from orchestrator.compression.certificate import PairedComparison

SOURCES = [
    *ENGINE_SOURCES,
    *(REPOSITORY / "orchestrator" / name for name in ("compression", "datasets", "search")),
    # The picture is drawn from figures and gives none.
    *(path for path in sorted((BENCHMARKS / "compression_peers").glob("*.py")) if path.name != "picture.py"),
    BENCHMARKS / "compression_peers" / "peers",
    BENCHMARKS / "runtime_peers" / "environments.py",  # which peers
]


@dataclass(frozen=True, eq=False, kw_only=True)
class Measured:
    """What one row gave; `at` says when, for people."""

    at: str
    results: Sequence[Outcome | Figure]
    published: Sequence[Published]


class Archive:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, *, quick: bool, seeds: Sequence[int]) -> Archive:
        """That of runs like this one, here."""
        parts = [quick, *seeds, sys.version, torch.__version__, cpu_model(), torch.get_num_threads()]
        key = hashlib.sha256("\n".join([tree_digest(SOURCES), *map(str, parts)]).encode()).hexdigest()
        return cls(CACHE / "rows" / key[:16])

    def save(self, row: Row, measured: Measured) -> None:
        arrays: dict[str, npt.NDArray[Any]] = {}

        def kept(array: npt.NDArray[Any]) -> str:
            name = f"array-{len(arrays)}"
            arrays[name] = array
            return name

        def blob(content: bytes) -> str:
            name = hashlib.sha256(content).hexdigest()
            arrays[name] = np.frombuffer(content, np.uint8)
            return name

        index = {
            "at": measured.at,
            "outcomes": [vars(o) | {"correct": kept(o.correct)} for o in measured.results if isinstance(o, Outcome)],
            "figures": [asdict(figure) for figure in measured.results if isinstance(figure, Figure)],
            "published": [
                {
                    "title": p.title,
                    "model": blob(p.artifact.model),
                    "blobs": [blob(content) for content in p.artifact.blobs.values()],
                    "correct": kept(p.correct),
                    "certificate": asdict(p.certificate),
                }
                for p in measured.published
            ],
        }
        content = io.BytesIO()
        np.savez_compressed(content, index=np.frombuffer(json.dumps(index).encode(), np.uint8), **arrays)
        write_whole(self._path(row), hashlib.sha256(content.getvalue()).digest() + content.getvalue())

    def load(self, row: Row) -> Measured | None:
        """None where it was not measured, or the file is damaged."""
        try:
            digest, content = (file := self._path(row).read_bytes())[:32], file[32:]
        except FileNotFoundError:
            return None
        if hashlib.sha256(content).digest() != digest:
            return None
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            index = json.loads(arrays["index"].tobytes())
            outcomes = [Outcome(**{**o, "correct": arrays[o["correct"]]}) for o in index["outcomes"]]
            figures = [Figure(**figure) for figure in index["figures"]]
            published = [_published(entry, arrays) for entry in index["published"]]
        return Measured(at=index["at"], results=[*outcomes, *figures], published=published)

    def _path(self, row: Row) -> Path:
        assert row.run is not None
        return self.folder / f"row-{row.number:02}-{tree_digest([Path(inspect.getfile(row.run))])[:16]}.npz"


def _published(entry: dict[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Published:
    blobs = {bytes.fromhex(name): arrays[name].tobytes() for name in entry["blobs"]}
    return Published(
        title=entry["title"],
        artifact=Artifact(model=arrays[entry["model"]].tobytes(), blobs=blobs),
        correct=arrays[entry["correct"]],
        certificate=PairedComparison(**entry["certificate"]),
    )
