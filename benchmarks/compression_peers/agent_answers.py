"""Answers samples with the engine that a device installs: python agent_answers.py FOLDER.

Runs where only the edge is installed. `FOLDER/blobs` is a device's own store, files named by SHA-256; `job.json` names
models by digest and size, and says how many bytes a sample in `samples.bin` has. For each model and each path of the
engine `answers.json` gets the class of every sample.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edge_agent.runtime import available_paths, load_model, parse_model
from edge_agent.store import BlobStore


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    samples = (folder / "samples.bin").read_bytes()
    store = BlobStore(folder / "blobs")
    answers = {}
    for digest, size_bytes in job["models"].items():
        model = store.read(digest, size_bytes)
        refs = parse_model(model).tensor_blobs
        blobs = {ref.sha256: store.read(ref.sha256.hex(), ref.size_bytes) for ref in refs}
        answers[digest] = {}
        for path in available_paths() if job["all_paths"] else available_paths()[:1]:
            output = load_model(model, blobs.__getitem__, path=path).infer_batch(samples, raw=True)
            answers[digest][path] = _classes(output, len(samples) // job["sample_bytes"])
    (folder / "answers.json").write_text(json.dumps(answers))


def _classes(output: bytes, count: int) -> list[int]:
    """The first of the largest int8 scores of each sample."""
    scores = memoryview(output).cast("b").tolist()
    classes = len(scores) // count
    rows = (scores[start : start + classes] for start in range(0, len(scores), classes))
    return [row.index(max(row)) for row in rows]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
