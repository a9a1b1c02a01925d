"""Which path runs, how it is chosen, and what it does not need."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import ConfigError, DigestMismatchError, GoldenMismatchError, InputError, ModelFormatError
from edge_agent.runtime import PATH_VARIABLE, available_paths, check_golden, load_model, make_golden
from edge_agent.runtime.interface import Engine
from protos import model_pb2 as pb
from tests.kernels.graphs import BuiltModel, GraphBuilder
from tests.kernels.networks import resnet8

PATHS = available_paths()


@pytest.fixture(scope="module")
def model() -> BuiltModel:
    return resnet8()


@pytest.fixture(params=PATHS)
def engine(request: pytest.FixtureRequest, model: BuiltModel) -> Engine:
    return load_model(model.data, model.blobs.__getitem__, path=request.param)


def image(engine: Engine, seed: int = 0) -> bytes:
    return (
        np.random.default_rng(seed).integers(0, 256, engine.graph.input_activation.elements, dtype=np.uint8).tobytes()
    )


def test_the_best_path_comes_first_and_the_reference_last() -> None:
    assert PATHS[-1] == "reference"
    assert "portable" in PATHS[-2:-1]


def test_the_environment_forces_a_path(model: BuiltModel, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in PATHS:
        monkeypatch.setenv(PATH_VARIABLE, path)
        assert load_model(model.data, model.blobs.__getitem__).path == path


def test_an_argument_wins_over_the_environment(model: BuiltModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH_VARIABLE, "reference")
    assert load_model(model.data, model.blobs.__getitem__, path=PATHS[0]).path == PATHS[0]


def test_an_unknown_path_is_refused_by_name(model: BuiltModel) -> None:
    with pytest.raises(ConfigError, match=r"'warp' is not available here; choose one of .*reference"):
        load_model(model.data, model.blobs.__getitem__, path="warp")


def test_a_wrong_blob_is_refused(model: BuiltModel) -> None:
    with pytest.raises(DigestMismatchError):
        load_model(model.data, lambda sha256: model.blobs[sha256][:-1] + b"\x00\x01")


def test_the_wrong_input_size_is_an_input_error(engine: Engine) -> None:
    for call in (engine.infer_raw, engine.infer_float, lambda x: engine.trace(x, raw=True)):
        with pytest.raises(InputError):
            call(image(engine)[1:])
    with pytest.raises(InputError):
        engine.infer_batch(image(engine) + b"x", raw=True)


def test_nan_is_an_input_error(engine: Engine) -> None:
    values = np.zeros(engine.graph.input_activation.elements, dtype="<f4")
    values[-1] = np.nan
    with pytest.raises(InputError, match="NaN"):
        engine.infer_float(values.tobytes())


@pytest.mark.parametrize("path", PATHS)
def test_raw_input_needs_a_raw_table(path: str) -> None:
    builder = GraphBuilder(np.random.default_rng(0))
    built = builder.finish(builder.linear(builder.input((5,), raw=False), 3))
    engine = load_model(built.data, built.blobs.__getitem__, path=path)
    with pytest.raises(InputError, match="does not accept raw"):
        engine.infer_raw(bytes(5))


def test_any_contiguous_buffer_is_an_input(engine: Engine) -> None:
    x = image(engine)
    expected = engine.infer_raw(x)
    assert engine.infer_raw(bytearray(x)) == expected
    assert engine.infer_raw(memoryview(b"?" + x)[1:]) == expected  # unaligned
    floats = np.random.default_rng(0).normal(size=len(x)).astype("<f4").tobytes()
    assert engine.infer_float(memoryview(b"?" + floats)[1:]) == engine.infer_float(floats)


def test_an_empty_batch_has_an_empty_output(engine: Engine) -> None:
    assert engine.infer_batch(b"", raw=True) == b""


def test_threads_share_an_engine(engine: Engine) -> None:
    inputs = [image(engine, seed) for seed in range(4)]
    expected = [engine.infer_raw(x) for x in inputs]
    outputs: list[list[bytes]] = [[] for _ in inputs]

    def work(index: int) -> None:
        outputs[index] += [engine.infer_raw(inputs[index]) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == [[output] * 5 for output in expected]


def test_memory_is_reported(engine: Engine) -> None:
    assert engine.weight_bytes >= 77_000
    assert engine.arena_bytes >= 32 * 32 * 16 * 2


@pytest.fixture(scope="module")
def golden(model: BuiltModel) -> bytes:
    reference = load_model(model.data, model.blobs.__getitem__, path="reference")
    elements = reference.graph.input_activation.elements
    floats = np.random.default_rng(1).normal(size=elements).astype("<f4").tobytes()
    return make_golden(reference, raw=[image(reference), bytes(elements), b"\xff" * elements], float32=[floats])


def test_golden_vectors_of_the_reference_hold_on_every_path(engine: Engine, golden: bytes) -> None:
    check_golden(engine, golden)


def test_a_golden_mismatch_names_the_first_operator_that_differs(engine: Engine, golden: bytes) -> None:
    message = pb.GoldenVectors.FromString(golden)
    case = message.cases[2]
    case.output = bytes(byte ^ 1 for byte in case.output)
    case.operator_sha256[4] = hashlib.sha256(b"something else").digest()
    with pytest.raises(GoldenMismatchError) as caught:
        check_golden(engine, message.SerializeToString(deterministic=True))
    assert (caught.value.case, caught.value.operator_name) == (2, engine.graph.operators[4].name)


@pytest.mark.parametrize("damage", ["empty", "short_input", "short_output", "missing_digest", "unknown_field"])
def test_damaged_golden_vectors_are_a_format_error(engine: Engine, golden: bytes, damage: str) -> None:
    message = pb.GoldenVectors.FromString(golden)
    match damage:
        case "empty":
            del message.cases[:]
        case "short_input":
            message.cases[0].raw = message.cases[0].raw[1:]
        case "short_output":
            message.cases[0].output = message.cases[0].output[1:]
        case "missing_digest":
            del message.cases[1].operator_sha256[0]
    data = message.SerializeToString(deterministic=True) + (b"\x78\x01" if damage == "unknown_field" else b"")
    with pytest.raises(ModelFormatError):
        check_golden(engine, data)


SERVE_WITHOUT_NUMPY = """
import sys
from pathlib import Path
from edge_agent.runtime import load_model, check_golden
folder = Path(sys.argv[1])
blobs = lambda sha256: (folder / sha256.hex()).read_bytes()
engine = load_model((folder / "model").read_bytes(), blobs, path=sys.argv[2])
check_golden(engine, (folder / "golden").read_bytes())
engine.dequantize(engine.infer_raw(bytes(engine.graph.input_activation.elements)))
engine.infer_float(bytes(4 * engine.graph.input_activation.elements))
print("numpy" in sys.modules, engine.path)
"""


@pytest.mark.parametrize("path", PATHS[:-1])
def test_compiled_paths_never_import_numpy(model: BuiltModel, golden: bytes, tmp_path: Path, path: str) -> None:
    (tmp_path / "model").write_bytes(model.data)
    (tmp_path / "golden").write_bytes(golden)
    for sha256, payload in model.blobs.items():
        (tmp_path / sha256.hex()).write_bytes(payload)
    command = [sys.executable, "-c", SERVE_WITHOUT_NUMPY, str(tmp_path), path]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == (f"False {path}\n", "")
