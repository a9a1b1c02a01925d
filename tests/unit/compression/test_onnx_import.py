"""An ONNX file becomes a network that computes, trains and is captured as its source does, or is refused by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper
from torch import nn

from orchestrator.compression.capture import capture, ir, total_macs
from orchestrator.compression.checkpoint import load_checkpoint, save_checkpoint
from orchestrator.compression.data import Preprocessing
from orchestrator.compression.errors import CaptureError
from orchestrator.compression.from_onnx import load_network
from orchestrator.compression.prune import prune_channels
from orchestrator.datasets import Splits
from orchestrator.jobs.errors import UserCodeError
from orchestrator.jobs.user_code import build_network
from orchestrator.onnx.errors import OnnxError
from tests.kernels.mutations import mutate_bytes
from tests.unit.compression.networks import (
    EveryOperator,
    PlainShortcut,
    Residual,
    SqueezeExcite,
    small_network,
)
from tests.unit.compression.onnx_files import exported, node, run_onnx, written
from tests.unit.compression.sequence_networks import NETWORKS as SEQUENCE_NETWORKS
from tests.unit.compression.sequence_networks import Temporal

NETWORKS: list[Callable[[], nn.Module]] = [
    Residual,
    EveryOperator,
    PlainShortcut,
    small_network,
    *SEQUENCE_NETWORKS.values(),
]
SHAPE = (1, 8, 8)


class DynamicView(nn.Module):
    """Computes the shape that it flattens to from its input's, and multiplies by a matrix that is no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(12, 5)), nn.Parameter(torch.randn(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x.view(x.size(0), -1) @ self.weight + self.bias) / 3


@pytest.mark.parametrize("make", NETWORKS)
@pytest.mark.parametrize("any_batch", [True, False])
def test_an_imported_network_computes_what_its_source_does(make: Callable[[], nn.Module], any_batch: bool) -> None:
    torch.manual_seed(3)
    source = make().eval()
    data = exported(source, SHAPE, any_batch=any_batch)
    network = load_network(data)
    x = torch.randn(3, *SHAPE)
    torch.testing.assert_close(network(x), source(x), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(network(x), run_onnx(data, x), atol=1e-5, rtol=1e-4)
    assert network.input_shape == SHAPE


@pytest.mark.parametrize("make", NETWORKS)
def test_an_imported_network_is_captured_as_its_source_is(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(4)
    source = make().eval()
    graph = capture(load_network(exported(source, SHAPE)), SHAPE)
    if make in (Residual, small_network, Temporal):  # others have gelu or silu, which come as what they are made of
        assert len(graph.nodes) == len(capture(source, SHAPE).nodes)
    x = torch.randn(2, *SHAPE)
    torch.testing.assert_close(graph.run(x), source(x).double(), atol=1e-4, rtol=1e-4)


def test_channels_of_an_imported_gate_can_be_pruned(digits: Splits, preprocessing: Preprocessing) -> None:
    """The file states the gate's shape, which follows the channels all the same."""
    network = load_network(exported(SqueezeExcite(linear=True).eval(), SHAPE))
    pruned = prune_channels(network, digits.train, preprocessing=preprocessing, macs_fraction=0.5)
    assert total_macs(capture(pruned, SHAPE)) <= 0.5 * total_macs(capture(network, SHAPE))


def test_a_refusal_of_capture_names_the_node() -> None:
    network = load_network(written([node("Relu", ["x"], "a"), node("Sqrt", ["a"])], {}).SerializeToString())
    with pytest.raises(CaptureError, match=r"sqrt.* is not supported on devices \(at ONNX node 'the_sqrt' \(Sqrt\)"):
        capture(network, (3, 8, 8))


SLICES: list[dict[str, Any]] = [
    {"starts": [1], "ends": [3], "axes": [1]},
    {"starts": [-6, 0], "ends": [2**31 - 1, -1], "axes": [-1, 2]},
    {"starts": [0, 0, 1], "ends": [2**31 - 1, 2, 7]},
]


@pytest.mark.parametrize("said", SLICES)
def test_a_part_of_a_feature_map_is_taken_as_the_runtime_takes_it(said: dict[str, Any]) -> None:
    weights = {name: np.array(values) for name, values in said.items()}
    model = written([node("Slice", ["x", *said])], weights)
    x = torch.randn(2, 3, 8, 8)
    expected = run_onnx(model.SerializeToString(), x)
    torch.testing.assert_close(load_network(model.SerializeToString())(x), expected)
    before_inputs = written([node("Slice", ["x"], **said)], {})
    before_inputs.opset_import[0].version = 9
    torch.testing.assert_close(load_network(before_inputs.SerializeToString())(x), expected)


@pytest.mark.parametrize(
    "given",
    [
        {"pads": np.array([0, 0, 1, 0, 0, 0, 2, 3])},
        {"pads": np.array([1, 0, 2, 3]), "value": np.array(0.5, np.float32), "axes": np.array([2, -1])},
    ],
)
def test_a_border_is_made_as_the_runtime_makes_it(given: dict[str, np.ndarray]) -> None:
    model = written([node("Pad", ["x", *given])], given)
    model.opset_import[0].version = 18
    data = model.SerializeToString()
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(load_network(data)(x), run_onnx(data, x))


def test_a_border_from_before_it_was_an_input_goes_into_the_convolution() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    model = written([node("Pad", ["x"], "p", pads=[0, 0, 0, 0, 0, 0, 1, 1]), node("Conv", ["p", "w"])], {"w": weight})
    model.opset_import[0].version = 9
    graph = capture(load_network(model.SerializeToString()), (3, 8, 8))
    (conv,) = graph.nodes
    assert isinstance(conv, ir.Conv)
    assert conv.padding == (0, 1, 0, 1)
    refused(written([node("Pad", ["x", "n"], mode="reflect")], {"n": np.zeros(8, np.int64)}), "the_pad.*constant")
    refused(written([node("Pad", ["x", "n"])], {"n": np.zeros(7, np.int64)}), "the_pad")
    refused(written([node("Pad", ["x", "n"])], {"n": np.array([0] * 7 + [1 << 40])}), "the_pad")


@pytest.mark.parametrize("sizes", [[5, 3], None])
def test_a_split_gives_parts_of_the_sizes_that_it_says_or_equal_ones(sizes: list[int] | None) -> None:
    split = helper.make_node("Split", ["x", "sizes"] if sizes else ["x"], ["a", "b"], name="the_split", axis=-1)
    nodes = [split, node("Concat", ["b", "a"], axis=3)]
    data = written(nodes, {"sizes": np.array(sizes)} if sizes else {}).SerializeToString()
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(load_network(data)(x), run_onnx(data, x))


def test_squares_and_sums_are_captured() -> None:
    nodes = [node("Pow", ["x", "two"], "a"), node("ReduceSum", ["a", "axes"], keepdims=0)]
    data = written(nodes, {"two": np.array(2, np.float32), "axes": np.array([2, 3])}).SerializeToString()
    network = load_network(data)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(network(x), run_onnx(data, x))
    torch.testing.assert_close(capture(network, (3, 8, 8)).run(x), network(x).double())


def test_a_shape_that_the_graph_computes_and_a_matrix_with_a_bias() -> None:
    torch.manual_seed(5)
    source = DynamicView()
    network = load_network(exported(source, (3, 2, 2)))
    x = torch.randn(4, 3, 2, 2)
    torch.testing.assert_close(network(x), source(x))
    assert [type(layer) for layer in network.layers.values()] == [nn.Linear]


def test_a_copy_trains_without_the_original_and_keeps_its_weights_in_a_checkpoint() -> None:
    torch.manual_seed(6)
    data = exported(Residual(), SHAPE)
    network = load_network(data)
    x = torch.randn(2, 1, 8, 8)
    before = network(x)
    twin = copy.deepcopy(network)
    torch.optim.SGD(twin.parameters(), lr=1.0)
    loss = twin(x).square().sum()
    loss.backward()
    with torch.no_grad():
        for parameter in twin.parameters():
            assert parameter.grad is not None
            parameter -= parameter.grad
    assert not torch.equal(twin(x), before)
    assert torch.equal(network(x), before)
    load_checkpoint(network, save_checkpoint(twin))
    assert torch.equal(network(x), twin(x))


def test_asymmetric_and_automatic_padding_are_computed() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    x = torch.randn(2, 3, 8, 8)
    for attributes in (
        {"pads": [0, 1, 2, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER"},
    ):
        data = written([node("Conv", ["x", "w"], **attributes)], {"w": weight}).SerializeToString()
        torch.testing.assert_close(load_network(data)(x), run_onnx(data, x), atol=1e-4, rtol=1e-4)


def refused(model: Any, match: str) -> None:
    with pytest.raises(OnnxError, match=match):
        load_network(model.SerializeToString())


def test_an_unsupported_operator_is_refused_by_node_and_name() -> None:
    refused(written([node("Det", ["x"])], {}), r"node 'the_det' \(Det\): is not supported; known are .*Conv.*")
    refused(
        written([node("LSTM", ["x", "w", "w"])], {"w": np.zeros((1, 4, 3), np.float32)}), r"the_lstm.*not supported"
    )


def test_a_node_that_cannot_be_what_it_says_is_refused_by_name() -> None:
    kernel = np.zeros((4, 3, 3, 3), np.float32)
    refused(written([node("Conv", ["x", "x"])], {}), "the_conv.*is not a weight that the file holds")
    refused(written([node("Conv", ["x", "w"], pads=[0, 0, 10**9, 0])], {"w": kernel}), "the_conv.*pads")
    refused(written([node("Conv", ["x", "w"])], {"w": kernel[:, :2]}), "the_conv")
    refused(written([node("Relu", ["nothing"])], {}), "the_relu.*nothing before it makes")
    refused(written([node("Reshape", ["x", "s"])], {"s": np.array([0, 7])}), "the_reshape")


def test_a_node_that_does_not_keep_samples_apart_is_refused_by_name() -> None:
    first = {"start": np.array([0]), "end": np.array([1]), "axis": np.array([0])}
    refused(written([node("Transpose", ["x"], perm=[1, 0, 2, 3])], {}), "the_transpose.*samples are not its first axis")
    refused(written([node("Slice", ["x", "start", "end", "axis"])], first), "the_slice.*does not keep samples apart")
    refused(written([node("ReduceMean", ["x"], axes=[0, 2])], {}), "the_reducemean.*does not keep samples apart")
    refused(written([node("Squeeze", ["x", "axis"])], {"axis": np.array([0])}), "the_squeeze")
    parts = helper.make_node("Split", ["x"], ["y", "rest"], name="the_split", axis=0)
    refused(written([parts], {}), "the_split.*does not keep samples apart")


def test_sizes_that_a_file_computes_are_bounded() -> None:
    zeros = [node("ConstantOfShape", ["many"], "a"), node("Expand", ["x", "a"])]
    refused(written(zeros, {"many": np.array([1 << 40])}), "the_constantofshape.*fills more than")
    row, column = np.arange(100)[None], np.arange(100)[:, None]
    product = [node("Mul", ["row", "column"], "a"), node("Reshape", ["x", "a"])]
    refused(written(product, {"row": row, "column": column}), "the_mul.*many elements")


def test_weights_that_are_not_in_the_file_or_not_of_their_size_are_refused() -> None:
    model = written([node("Conv", ["x", "w"])], {"w": np.zeros((4, 3, 3, 3), np.float32)})
    external = copy.deepcopy(model)
    external.graph.initializer[0].ClearField("raw_data")
    external.graph.initializer[0].data_location = 1
    external.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    refused(external, "weight 'w' is kept in another file")
    short = copy.deepcopy(model)
    short.graph.initializer[0].dims[0] = 2**40
    refused(short, "weight 'w' holds 432 bytes")
    strange = copy.deepcopy(model)
    strange.graph.initializer[0].data_type = 8  # strings
    refused(strange, "element type 8")


def test_foreign_operators_functions_and_versions_are_refused() -> None:
    foreign = written([node("Relu", ["x"], domain="com.example")], {})
    foreign.opset_import.add(domain="com.example", version=1)
    refused(foreign, "operators of com.example")
    old = written([node("Relu", ["x"])], {})
    old.opset_import[0].version = 3
    refused(old, "operator set 3")
    branching = written([node("If", ["x"], then_branch=old.graph, else_branch=old.graph)], {})
    refused(branching, "the_if.*a graph")


def test_a_small_file_cannot_ask_for_a_huge_feature_map() -> None:
    nodes = [node("Unsqueeze", ["x", "last"], "a"), node("Unsqueeze", ["x", "first"], "b"), node("Add", ["a", "b"])]
    axes = {"last": np.array([2]), "first": np.array([1])}
    refused(written(nodes, axes, (1, 1 << 20)), "the_add.*elements of a sample")


SOURCES = [exported(make(), SHAPE) for make in NETWORKS]


@given(seed=st.integers(0, 2**32))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damaged_files_end_in_one_error_or_in_a_network(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = mutate_bytes(SOURCES[int(rng.integers(len(SOURCES)))], rng)
    try:
        network = load_network(data)
        network(torch.zeros(1, *(network.input_shape or (1, 8, 8))))
    except OnnxError:
        pass


def test_a_job_names_an_onnx_file_where_it_could_name_a_callable(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = small_network().eval()
    (tmp_path / "teacher.onnx").write_bytes(exported(source, (1, 8, 8)))
    monkeypatch.chdir(tmp_path)
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(build_network("teacher.onnx", seed=0).eval()(x), source(x))
    with pytest.raises(UserCodeError, match=r"absent.onnx cannot be read"):
        build_network("absent.onnx", seed=0)
