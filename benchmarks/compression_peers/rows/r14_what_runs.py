"""Row 14: what a certificate says is what an installed agent's engine answers, sample by sample.

Every model of ours that this run made is put on disk as a device keeps it, and answered by the package that devices
install, in an environment of its own: with its best path all models, with every other path (the portable C++ and the
numpy reference among them) one model of each row and network.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from runtime_peers import environments

from compression_peers.bench import Bench, Published
from compression_peers.results import Figure, Outcome, Results
from compression_peers.row import OURS, Check, Row, at_least, at_most
from orchestrator.compression.recipe import Recipe

AGENT = Path(__file__).resolve().parents[1] / "agent_answers.py"
SLOW_PATHS_SAMPLES = 200
MODELS, ANSWERS, DIFFERENT, MISSTATED = "models", "answers", "answers that differ", "certificates that are wrong"


def run(bench: Bench) -> Iterator[Outcome | Figure]:
    if not bench.published:  # this row alone was asked for
        for subject in bench.subjects(ROW.networks):
            yield subject.quantized(ROW.number, OURS, Recipe())
    python = environments.ensure("espalier", bench.say)
    models = bench.published
    bench.say(f"row 14: {len(models)} models on an installed agent")
    counts = dict.fromkeys((ANSWERS, DIFFERENT, MISSTATED), 0)
    for published, answers in zip(models, _agent_answers(python, models, bench, all_paths=False), strict=True):
        _count(published, answers, bench, counts)
    some = list({(p.title.split(",")[0], p.title.split(",")[1]): p for p in models}.values())
    for published, answers in zip(some, _agent_answers(python, some, bench, all_paths=True), strict=True):
        _count(published, answers, bench, counts)
    yield Figure(row=ROW.number, label=MODELS, value=len(models))
    for label, value in counts.items():
        yield Figure(row=ROW.number, label=label, value=value)


def _count(published: Published, answers: dict[str, list[int]], bench: Bench, counts: dict[str, int]) -> None:
    labels = bench.data.splits.certify.labels
    for classes in answers.values():
        found = np.array(classes) == labels[: len(classes)]
        counts[ANSWERS] += len(found)
        counts[DIFFERENT] += int(np.sum(found != published.correct[: len(found)]))
        if len(found) == len(labels):
            counts[MISSTATED] += published.certificate.correct != int(found.sum())


def _agent_answers(
    python: Path, models: Sequence[Published], bench: Bench, *, all_paths: bool
) -> list[dict[str, list[int]]]:
    """For each model, its classes of certify's samples by the engine's path."""
    certify = bench.data.splits.certify
    inputs = certify.inputs[:SLOW_PATHS_SAMPLES] if all_paths else certify.inputs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "blobs").mkdir()
        for published in models:
            blobs = [published.artifact.model, *published.artifact.blobs.values()]
            for blob in blobs:
                (folder / "blobs" / hashlib.sha256(blob).hexdigest()).write_bytes(blob)
        (folder / "samples.bin").write_bytes(inputs.tobytes())
        job = {
            "models": {p.artifact.digest.hex(): len(p.artifact.model) for p in models},
            "sample_bytes": inputs[0].nbytes,
            "all_paths": all_paths,
        }
        (folder / "job.json").write_text(json.dumps(job))
        # -P: the installed package, not the sources that lie about.
        done = subprocess.run([str(python), "-P", str(AGENT), str(folder)], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or [f"the agent ended with {done.returncode}"])[-1])
        answers = json.loads((folder / "answers.json").read_text())
    return [answers[published.artifact.digest.hex()] for published in models]


def judge(results: Results, networks: Sequence[str]) -> list[Check]:
    del networks  # all models are looked at, whatever they are of
    return [
        at_least(MODELS, results.figure(ROW.number, MODELS), 1),
        at_most(DIFFERENT, results.figure(ROW.number, DIFFERENT), 0),
        at_most(MISSTATED, results.figure(ROW.number, MISSTATED), 0),
    ]


ROW = Row(
    number=14,
    title="what we say is what runs",
    target="certificate accuracy equals the accuracy of the agent's engine, to the last sample, for every model",
    quick=True,
    of_others=True,
    environments=lambda bench: ["espalier"],
    run=run,
    judge=judge,
)
