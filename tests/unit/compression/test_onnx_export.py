"""A compressed model as ONNX QDQ does under ONNX Runtime what the engine does, up to a step of rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edge_agent.runtime import graph as g
from edge_agent.runtime import load_model
from orchestrator.compression.artifact import Artifact
from orchestrator.compression.data import Preprocessing, images_to_tensor
from orchestrator.compression.pipeline import compress
from orchestrator.compression.recipe import Recipe, Scheme
from orchestrator.datasets import Splits
from orchestrator.onnx import export
from orchestrator.onnx.agreement import Agreement, measure_agreement
from orchestrator.onnx.export import export_onnx
from tests.kernels.graphs import GraphBuilder
from tests.kernels.networks import ds_cnn
from tests.unit.compression.networks import EveryOperator, PlainShortcut
from tests.unit.compression.onnx_files import run_onnx
from tests.unit.compression.sequence_networks import NETWORKS


def agreement_of(artifact: Artifact) -> Agreement:
    onnx_file = export_onnx(artifact.model, artifact.blobs.__getitem__)
    return measure_agreement(artifact.model, artifact.blobs.__getitem__, onnx_file)


RECIPES = [Recipe(), Recipe(scheme=Scheme.POWER_OF_TWO, weight_bits=4), Recipe(weight_bits=3)]


@pytest.mark.parametrize("recipe", RECIPES, ids=["int8", "pow2-w4", "w3"])
def test_a_compressed_network_gives_the_same_answers_under_onnx_runtime(
    trained: Callable[[str], nn.Module], digits: Splits, preprocessing: Preprocessing, recipe: Recipe
) -> None:
    artifact = compress(trained("residual"), digits, recipe, name="residual")
    onnx_file = export_onnx(artifact.model, artifact.blobs.__getitem__)
    agreement = measure_agreement(artifact.model, artifact.blobs.__getitem__, onnx_file)
    assert agreement.samples == 64
    assert agreement.same_outputs >= 0.8  # the two round ties differently
    assert agreement.largest_difference <= 2
    assert agreement.same_class >= 0.95

    x = images_to_tensor(digits.choose.inputs[:200], preprocessing)
    engine = load_model(artifact.model, artifact.blobs.__getitem__)
    x_nhwc = x.permute(0, 2, 3, 1).contiguous().numpy().astype("<f4")
    ours = np.frombuffer(engine.infer_batch(x_nhwc.tobytes(), raw=False), np.int8).reshape(200, -1).argmax(axis=1)
    assert (run_onnx(onnx_file, x).numpy().argmax(axis=1) == ours).mean() >= 0.99


@pytest.mark.parametrize("make", [EveryOperator, PlainShortcut])
def test_tables_pools_borders_and_softmax_have_counterparts(digits: Splits, make: type[nn.Module]) -> None:
    torch.manual_seed(2)
    artifact = compress(make().eval(), digits, Recipe(), name="untrained")
    agreement = agreement_of(artifact)
    assert agreement.same_outputs >= 0.8  # the two round ties differently
    assert agreement.largest_difference <= 2


def test_a_wrong_file_is_seen_by_the_comparison(trained: Callable[[str], nn.Module], digits: Splits) -> None:
    artifact = compress(trained("small"), digits, Recipe(), name="small")
    wrong = onnx.ModelProto.FromString(export_onnx(artifact.model, artifact.blobs.__getitem__))
    weight = next(tensor for tensor in wrong.graph.initializer if len(tensor.dims) == 2)
    weight.raw_data = bytes(reversed(weight.raw_data))
    agreement = measure_agreement(artifact.model, artifact.blobs.__getitem__, wrong.SerializeToString())
    assert agreement.same_outputs < 0.5
    assert agreement.largest_difference > 10


def test_equal_models_give_equal_files_in_qdq_form() -> None:
    model = ds_cnn()
    files = [export_onnx(model.data, model.blobs.__getitem__) for _ in range(2)]
    assert files[0] == files[1]
    graph = onnx.ModelProto.FromString(files[0]).graph
    assert {node.op_type for node in graph.node} >= {"QuantizeLinear", "DequantizeLinear", "Conv", "Gemm"}
    assert {tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 4} == {onnx.TensorProto.INT8}


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_transformers_and_gates_give_the_same_answers_under_onnx_runtime(digits: Splits, name: str, bits: int) -> None:
    torch.manual_seed(2)
    agreement = agreement_of(compress(NETWORKS[name]().eval(), digits, Recipe(weight_bits=bits), name=name))
    assert agreement.same_outputs >= 0.8
    assert agreement.largest_difference <= 2
    assert agreement.same_class >= 0.95


def test_a_transformer_with_shifts_differs_by_steps_but_not_in_its_answers(digits: Splits) -> None:
    torch.manual_seed(2)
    recipe = Recipe(scheme=Scheme.POWER_OF_TWO)
    agreement = agreement_of(compress(NETWORKS["transformer"]().eval(), digits, recipe, name="transformer"))
    assert agreement.largest_difference <= 3  # the device rounds the many ties up, and steps add up over two blocks
    assert agreement.same_class >= 0.95


def _scores_times_values(builder: GraphBuilder, x: int) -> int:
    """Every layout of heads: side by side and stacked, turned and not."""
    stacked = builder.permute(builder.reshape(x, (8, 2, 3)), (1, 0, 2))
    scores = builder.matmul(x, stacked, 2, stacked=(False, True, True), b_transposed=True)
    return builder.matmul(scores, stacked, 2, stacked=(True, True, False))


OPERATORS: dict[str, Callable[[GraphBuilder, int], int]] = {
    "attention": lambda builder, x: builder.attention(x, heads=2),
    "attention of one head": lambda builder, x: builder.attention(x, heads=1),
    "every layout of heads": _scores_times_values,
    "layer norm": lambda builder, x: builder.layer_norm(x),
    "layer norm of a row": lambda builder, x: builder.layer_norm(builder.flatten(x), bias=False),
    "softmax": lambda builder, x: builder.softmax(x),
    "reshape": lambda builder, x: builder.reshape(x, (2, 8, 3)),
    "permute": lambda builder, x: builder.permute(x, (2, 0, 1)),
    "product": lambda builder, x: builder.multiply(x, x),
    "a gate for each channel": lambda builder, x: builder.multiply(x, builder.max_pool(x, (2, 4))),
    "constant": lambda builder, x: builder.concat([x, builder.constant((2, 4, 5))]),
    "constant row": lambda builder, x: builder.add(builder.flatten(x), builder.constant((48,))),
}


@pytest.mark.parametrize("name", list(OPERATORS))
def test_each_operator_of_sequences_does_what_the_device_does_up_to_a_step(name: str) -> None:
    builder = GraphBuilder(np.random.default_rng(1))
    model = builder.finish(OPERATORS[name](builder, builder.input((2, 4, 6))))
    onnx_file = export_onnx(model.data, model.blobs.__getitem__)
    agreement = measure_agreement(model.data, model.blobs.__getitem__, onnx_file)
    assert agreement.same_outputs >= 0.99
    assert agreement.largest_difference <= 1


def test_features_with_scales_of_their_own_come_as_they_are() -> None:
    builder = GraphBuilder(np.random.default_rng(1))
    model = builder.finish(builder.linear(builder.input((12,), affine=True), 5))
    onnx_file = export_onnx(model.data, model.blobs.__getitem__)
    agreement = measure_agreement(model.data, model.blobs.__getitem__, onnx_file)
    assert agreement.same_outputs >= 0.99
    assert agreement.largest_difference <= 1


def test_every_operator_of_the_format_has_a_counterpart() -> None:
    assert set(export.OPERATORS) == set(get_args(g.Kind))


def _choice(builder: GraphBuilder, gate: int, branch: int) -> int:
    """Between a branch and the same upside down, about half of the inputs each."""
    turned = builder.reshape(builder.permute(branch, (1, 0, 2)), builder.shape(branch))
    return builder.select(builder.linear(builder.flatten(gate), 1), branch, turned)


RULES: dict[str, Callable[[GraphBuilder, int], int]] = {
    "one tree": lambda builder, x: builder.rule_table(builder.flatten(x), classes=5, conditions=20),
    "a forest": lambda builder, x: builder.rule_table(builder.flatten(x), classes=3, conditions=60, trees=9),
    "by shift": lambda builder, x: builder.rule_table(builder.flatten(x), 4, 30, trees=3, by_shift=True),
    "no condition": lambda builder, x: builder.rule_table(builder.flatten(x), classes=3, conditions=0, trees=2),
    "a choice": lambda builder, x: _choice(builder, x, x),
}


@pytest.mark.parametrize("name", list(RULES))
@pytest.mark.parametrize("seed", range(3))
def test_rules_do_under_onnx_runtime_exactly_what_they_do_on_a_device(name: str, seed: int) -> None:
    builder = GraphBuilder(np.random.default_rng(seed))
    model = builder.finish(RULES[name](builder, builder.input((2, 4, 6))))
    onnx_file = export_onnx(model.data, model.blobs.__getitem__)
    agreement = measure_agreement(model.data, model.blobs.__getitem__, onnx_file)
    assert agreement.same_outputs == 1.0
