"""The part of the compression benchmark that runs where only the edge is installed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from compression_peers import agent_answers

from edge_agent.errors import BlobMissingError
from edge_agent.runtime import available_paths
from orchestrator.compression.artifact import Artifact
from orchestrator.compression.evaluation import evaluate
from orchestrator.compression.pipeline import compress
from orchestrator.compression.recipe import Recipe
from orchestrator.datasets import Splits
from orchestrator.datasets.digits import load_digits
from tests.unit.compression.networks import small_network

SAMPLES = 40


@pytest.fixture(scope="module")
def digits() -> Splits:
    return load_digits()


@pytest.fixture(scope="module")
def artifact(digits: Splits) -> Artifact:
    torch.manual_seed(0)
    return compress(small_network().eval(), digits, Recipe(calibration_count=32), name="digits")


def stored(folder: Path, artifact: Artifact, digits: Splits) -> Path:
    (folder / "blobs").mkdir()
    for blob in (artifact.model, *artifact.blobs.values()):
        (folder / "blobs" / hashlib.sha256(blob).hexdigest()).write_bytes(blob)
    inputs = digits.certify.inputs[:SAMPLES]
    (folder / "samples.bin").write_bytes(inputs.tobytes())
    models = {artifact.digest.hex(): len(artifact.model)}
    job = {"models": models, "sample_bytes": inputs[0].nbytes, "all_paths": True}
    (folder / "job.json").write_text(json.dumps(job))
    return folder


def test_an_agent_answers_on_every_path_what_was_evaluated(tmp_path: Path, artifact: Artifact, digits: Splits) -> None:
    agent_answers.main(stored(tmp_path, artifact, digits))
    answers = json.loads((tmp_path / "answers.json").read_text())[artifact.digest.hex()]
    split = digits.certify.take(slice(0, SAMPLES))
    assert list(answers) == list(available_paths())
    for classes in answers.values():
        assert np.array_equal(np.array(classes) == split.labels, evaluate(artifact, split).correct)


def test_a_damaged_model_is_not_answered(tmp_path: Path, artifact: Artifact, digits: Splits) -> None:
    stored(tmp_path, artifact, digits)
    path = tmp_path / "blobs" / artifact.digest.hex()
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(BlobMissingError):
        agent_answers.main(tmp_path)


def test_ties_go_to_the_lowest_class() -> None:
    scores = np.array([[3, 7, 7], [-5, -5, -9]], np.int8)
    assert agent_answers._classes(scores.tobytes(), 2) == [1, 0]
