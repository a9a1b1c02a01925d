"""A compressed model as ONNX QDQ does under ONNX Runtime what the engine does, up to a step of rounding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edge_agent.runtime import load_model
from orchestrator.compression.data import Preprocessing, images_to_tensor
from orchestrator.compression.pipeline import compress
from orchestrator.compression.recipe import Recipe, Scheme
from orchestrator.datasets import Splits
from orchestrator.onnx.agreement import measure_agreement
from orchestrator.onnx.errors import OnnxError
from orchestrator.onnx.export import export_onnx
from tests.kernels.graphs import GraphBuilder
from tests.kernels.networks import ds_cnn
from tests.unit.compression.networks import EveryOperator
from tests.unit.compression.onnx_files import run_onnx

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


def test_tables_pools_and_softmax_have_counterparts(digits: Splits) -> None:
    torch.manual_seed(2)
    artifact = compress(EveryOperator().eval(), digits, Recipe(), name="every-operator")
    onnx_file = export_onnx(artifact.model, artifact.blobs.__getitem__)
    agreement = measure_agreement(artifact.model, artifact.blobs.__getitem__, onnx_file)
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


def test_an_operator_without_counterpart_is_refused_by_name() -> None:
    builder = GraphBuilder(np.random.default_rng(0))
    x = builder.input((3, 3, 4))
    model = builder.finish(builder.layer_norm(x))
    with pytest.raises(OnnxError, match=r"'op\d+' \(LayerNorm\) has no export to ONNX yet"):
        export_onnx(model.data, model.blobs.__getitem__)
