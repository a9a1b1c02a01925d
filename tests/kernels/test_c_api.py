"""A C application loads and runs a model without Python, and gets the reference's bits."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edge_agent.runtime import load_model
from tests.kernels.networks import resnet8

pytestmark = [pytest.mark.kernels, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
TOOLS = ("cmake", "cc", "c++")


def run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(900)
@pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}")
def test_a_c_application_gets_the_same_bits(tmp_path: Path) -> None:
    build = tmp_path / "build"
    run("cmake", "-S", ROOT, "-B", build, "-DESPALIER_PYTHON=OFF")
    run("cmake", "--build", build)
    application = tmp_path / "application"
    source, headers = ROOT / "tests/kernels/c_api.c", ROOT / "edge_agent/runtime/csrc"
    run("cc", "-std=c11", "-Wall", "-Werror", "-c", source, f"-I{headers}", "-o", tmp_path / "c_api.o")
    run("c++", tmp_path / "c_api.o", build / "libespalier_core.a", "-o", application)

    model = resnet8()
    reference = load_model(model.data, model.blobs.__getitem__, path="reference")
    x = np.random.default_rng(3).integers(0, 256, reference.graph.input_activation.elements, dtype=np.uint8).tobytes()
    (tmp_path / "model").write_bytes(model.data)
    (tmp_path / "input").write_bytes(x)
    blobs = [tmp_path / sha256.hex() for sha256 in model.blobs]
    for path, payload in zip(blobs, model.blobs.values(), strict=True):
        path.write_bytes(payload)
    chosen = run(application, tmp_path / "model", tmp_path / "input", tmp_path / "output", "portable", *blobs)
    assert chosen == "portable\n"
    assert (tmp_path / "output").read_bytes() == reference.infer_raw(x)
