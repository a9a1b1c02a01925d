"""The example in C loads and runs a model without Python, and gets the reference's bits."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edge_agent.runtime import available_paths, load_model
from tests.kernels.networks import resnet8

pytestmark = [pytest.mark.kernels, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
TOOLS = ("cmake", "cc", "c++")


def run(*command: object, code: int = 0) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def classify(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not all(map(shutil.which, TOOLS)):
        pytest.skip(f"needs {', '.join(TOOLS)}")
    build = tmp_path_factory.mktemp("build")
    run("cmake", "-S", ROOT / "examples/c", "-B", build, "-DESPALIER_SANITIZE=ON")
    run("cmake", "--build", build, "--parallel", "2")
    return build / "classify"


@pytest.mark.timeout(900)
def test_the_c_example_classifies_as_the_reference_does_and_leaks_nothing(classify: Path, tmp_path: Path) -> None:
    model = resnet8()
    reference = load_model(model.data, model.blobs.__getitem__, path="reference")
    x = np.random.default_rng(3).integers(0, 256, reference.graph.input_activation.elements, dtype=np.uint8).tobytes()
    digest = hashlib.sha256(model.data).hexdigest()
    (tmp_path / "input").write_bytes(x)
    (tmp_path / digest).write_bytes(model.data)
    for sha256, payload in model.blobs.items():
        (tmp_path / sha256.hex()).write_bytes(payload)

    output = reference.infer_raw(x)
    scores = np.frombuffer(reference.dequantize(output), dtype="<f4")
    best = np.argsort(-scores, kind="stable")[:5]
    expected = "".join(f"class {index}: {scores[index]:g}\n" for index in best)
    for path in available_paths()[:-1]:
        assert run(classify, tmp_path, digest, tmp_path / "input", path) == f"{path}\n{expected}"

    (tmp_path / "input").write_bytes(x[1:])
    assert "3071 bytes" in run(classify, tmp_path, digest, tmp_path / "input", code=1)
    (tmp_path / next(iter(model.blobs)).hex()).unlink()
    assert "payload" in run(classify, tmp_path, digest, tmp_path / "input", code=1)
