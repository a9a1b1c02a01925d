"""Block sparsity: what goes, what makes up for it, and that zeros stay zeros all the way to the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edge_agent.runtime import graph as g
from edge_agent.runtime.blocks import decode_blocks
from edge_agent.runtime.engine import load_model
from orchestrator.compression.data import Preprocessing, images_to_tensor
from orchestrator.compression.errors import PruningError
from orchestrator.compression.evaluation import evaluate, evaluate_network
from orchestrator.compression.lower.blocks import in_blocks
from orchestrator.compression.pipeline import build, compress
from orchestrator.compression.prune.blocks import (
    LEARNING,
    BlockPruning,
    Budget,
    prune_blocks,
    prune_blocks_and_recover,
    prune_blocks_by_magnitude,
)
from orchestrator.compression.prune.blocks.surgeon import refit, removal_costs
from orchestrator.compression.prune.blocks.timing import dense_latencies_us
from orchestrator.compression.quantize.network import quantize_network
from orchestrator.compression.recipe import QuantizedTraining, Recipe, Rounding
from orchestrator.datasets import Splits
from protos import model_pb2 as pb
from tests.unit.compression.sequence_networks import NETWORKS

Trained = Callable[[str], nn.Module]


def accuracy(model: nn.Module, digits: Splits, preprocessing: Preprocessing) -> float:
    return evaluate_network(model, digits.choose, preprocessing=preprocessing).accuracy


def is_block_zero(mask: torch.Tensor, rows: int) -> bool:
    """Whether a convolution's mask [O, I, KH, KW] is made of whole blocks."""
    device = mask.permute(0, 2, 3, 1).reshape(len(mask) // rows, rows, -1, 4)
    return bool((device.amax(dim=(1, 3)) == device.amin(dim=(1, 3))).all())


def test_the_surgeon_finds_the_least_squares_solution_and_its_cost() -> None:
    torch.manual_seed(0)
    x = torch.randn(400, 12, dtype=torch.float64) @ torch.randn(12, 12, dtype=torch.float64)
    weight = torch.randn(1, 4, 12, dtype=torch.float64)
    hessian = x.mT @ x / len(x)
    order, cost = removal_costs(weight, hessian, removable=2)
    kept = torch.ones(1, 3, dtype=torch.bool)
    kept[0, order[0]] = False
    fitted = refit(weight, kept, hessian, hessian)
    columns = kept[0].repeat_interleave(4)
    wanted = torch.linalg.lstsq(x[:, columns], x @ weight[0].mT).solution.mT
    assert torch.allclose(fitted[0][:, columns], wanted, rtol=0.1, atol=0.05)  # damping moves it a little
    error = ((x @ (fitted - weight)[0].mT) ** 2).sum(dim=1).mean()
    assert float(cost.sum()) == pytest.approx(float(error), rel=0.1)
    others = [torch.tensor([[j != i for j in range(3)]]) for i in range(3)]
    errors = [((x @ (refit(weight, mask, hessian, hessian) - weight)[0].mT) ** 2).sum() for mask in others]
    assert int(torch.tensor(errors).argmin()) == int(order[0, 0])


def test_pruning_by_the_surgeon_keeps_what_magnitude_loses(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    model = trained("residual")
    before = accuracy(model, digits, preprocessing)
    common = {"preprocessing": preprocessing, "sparsity": 0.6, "block_rows": 4}
    by_magnitude = prune_blocks_by_magnitude(model, digits.train, **common)
    sparse = prune_blocks(model, digits.train, **common)
    for network in (by_magnitude, sparse):
        assert network.sparsity == pytest.approx(0.6, abs=0.05)
        for name, mask in network.masks.items():
            assert not network.model.get_parameter(name)[~mask].any()
    assert is_block_zero(sparse.masks["inner.weight"], 4)
    assert accuracy(sparse.model, digits, preprocessing) > before - 0.12
    assert accuracy(sparse.model, digits, preprocessing) > accuracy(by_magnitude.model, digits, preprocessing)
    assert accuracy(model, digits, preprocessing) == before


def test_zeros_stay_zeros_through_distillation_quantization_and_on_the_device(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    model = trained("residual")
    pruning = BlockPruning(sparsity=0.7, block_rows=4, learning=replace(LEARNING, epochs=3, batch_size=64))
    sparse = prune_blocks_and_recover(model, digits.train, pruning, preprocessing=preprocessing)
    for name, mask in sparse.masks.items():
        weight = sparse.model.get_parameter(name)
        assert not weight[~mask].any()
        assert weight[mask].any()
    trained_in_4_bits = Recipe(weight_bits=4, training=QuantizedTraining(epochs=1, batch_size=64))
    for recipe in (Recipe(), Recipe(weight_bits=4), trained_in_4_bits):
        artifact = compress(sparse.model, digits, recipe, name="sparse")
        message = pb.Model.FromString(artifact.model)
        encoded = {t.name: t for t in message.tensors if t.encoding == pb.BLOCK_SPARSE}
        assert {"pointwise.weight", "head.weight", "inner.weight"} & encoded.keys()
        for tensor in encoded.values():
            assert tensor.bits == (0 if recipe.weight_bits == 8 else recipe.weight_bits)
        outputs = [load_model(artifact.model, artifact.blobs.__getitem__, path=p) for p in (None, "reference")]
        sample = digits.choose.inputs[:50].tobytes()
        assert outputs[0].infer_batch(sample, raw=True) == outputs[1].infer_batch(sample, raw=True)
        assert evaluate(artifact, digits.choose).accuracy > accuracy(model, digits, preprocessing) - 0.06


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("transformer", {"blocks.0.attention.query.weight", "blocks.0.mlp.0.weight", "blocks.1.mlp.2.weight"}),
        ("temporal", {"first.weight", "head.weight"}),
    ],
)
def test_layers_over_tokens_and_over_time_become_sparse_and_stay_so(
    digits: Splits, preprocessing: Preprocessing, name: str, layers: set[str]
) -> None:
    torch.manual_seed(0)
    network, few = NETWORKS[name]().eval(), digits.train.take(slice(0, 128))
    by_magnitude = prune_blocks_by_magnitude(network, few, preprocessing=preprocessing, sparsity=0.5)
    pruning = BlockPruning(sparsity=0.5, learning=replace(LEARNING, batch_size=64))
    sparse = prune_blocks_and_recover(network, few, pruning, preprocessing=preprocessing)
    for pruned in (by_magnitude, sparse):
        assert pruned.sparsity == pytest.approx(0.5, abs=0.1)  # ten outputs leave rows of blocks half filled
        assert layers <= pruned.masks.keys()
        for path, mask in pruned.masks.items():
            weight = pruned.model.get_parameter(path)
            assert weight.shape == mask.shape
            assert not weight[~mask].any()
            assert weight[mask].any()
    recipe = Recipe(weight_bits=4, rounding=Rounding.NEAREST)
    quantized = quantize_network(sparse.model, few, recipe, preprocessing=preprocessing)
    artifact = build(quantized, few, name=name, preprocessing=preprocessing, labels=digits.labels)
    tensors = pb.Model.FromString(artifact.model).tensors
    assert layers <= {tensor.name for tensor in tensors if tensor.encoding == pb.BLOCK_SPARSE}


def test_what_stays_makes_up_for_what_goes_over_tokens_too(digits: Splits, preprocessing: Preprocessing) -> None:
    torch.manual_seed(0)
    network, x = NETWORKS["transformer"]().eval(), images_to_tensor(digits.choose.inputs, preprocessing)

    def error(pruned: nn.Module) -> float:
        with torch.no_grad():
            return float((pruned(x) - network(x)).square().mean())

    common = {"preprocessing": preprocessing, "sparsity": 0.4}
    by_surgery = prune_blocks(network, digits.train, **common)
    assert error(by_surgery.model) < error(prune_blocks_by_magnitude(network, digits.train, **common).model) / 2


def test_measured_latencies_decide_which_layers_give(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    def zeros(latencies: dict[str, float]) -> dict[str, float]:
        sparse = prune_blocks_and_recover(
            trained("residual"),
            digits.train,
            BlockPruning(sparsity=0.5, block_rows=4, budget=Budget.LATENCY, learning=None),
            preprocessing=preprocessing,
            latencies_us=latencies,
        )
        return {name: 1 - float(mask.float().mean()) for name, mask in sparse.masks.items()}

    slow_inner = zeros({"inner.weight": 100.0, "head.weight": 1.0})
    slow_head = zeros({"inner.weight": 1.0, "head.weight": 100.0})
    assert slow_inner.keys() == {"inner.weight", "head.weight"}
    assert slow_inner["inner.weight"] > slow_head["inner.weight"]
    assert slow_head["head.weight"] > slow_inner["head.weight"]


def test_time_is_measured_here_where_no_device_has_measured_it(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    latencies_us = dense_latencies_us(trained("residual"), digits.train, preprocessing=preprocessing)
    assert {"inner.weight", "pointwise.weight", "head.weight"} <= latencies_us.keys()
    assert all(latency_us > 0 for latency_us in latencies_us.values())
    sparse = prune_blocks(
        trained("residual"), digits.train, preprocessing=preprocessing, sparsity=0.5, budget=Budget.LATENCY
    )
    assert sparse.masks.keys() <= latencies_us.keys()
    assert 0 < sparse.sparsity < 1


def test_wide_layers_get_larger_grains(digits: Splits, preprocessing: Preprocessing) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    sparse = prune_blocks(model, digits.train, preprocessing=preprocessing, sparsity=0.5, budget=Budget.MACS)
    for name, rows in (("1.weight", 16), ("3.weight", 8), ("5.weight", 4)):
        mask = sparse.masks[name].float()
        padded = torch.cat([mask, mask.new_zeros(-len(mask) % rows, mask.shape[1])])
        blocks = padded.view(len(padded) // rows, rows, -1, 4)[: len(mask) // rows]
        assert torch.equal(blocks.amax(dim=(1, 3)), blocks.amin(dim=(1, 3)))


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 3), st.integers(1, 3), st.integers(1, 20)),
    bits=st.sampled_from([8, 6, 4, 3, 2]),
    block_rows=st.sampled_from([4, 8, 16]),
    seed=st.integers(0, 999),
)
@settings(max_examples=100, deadline=None)
def test_lowered_blocks_are_what_the_device_reads(
    shape: tuple[int, ...], bits: int, block_rows: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    high = (1 << (bits - 1)) - 1
    weight = rng.integers(-high, high + 1, shape) * (rng.random(shape) < 0.1)
    blocks = in_blocks(weight, block_rows, bits)
    tensor = g.Tensor("w", g.DType.INT8, shape, 0 if bits == 8 else bits, blocks.payload, block_rows, blocks.blocks)
    assert len(blocks.payload) == tensor.payload_bytes
    assert np.array_equal(decode_blocks(tensor, blocks.payload), weight)


def test_what_cannot_be_is_refused(trained: Trained, digits: Splits, preprocessing: Preprocessing) -> None:
    model, common = trained("residual"), {"preprocessing": preprocessing}
    with pytest.raises(PruningError, match="above 0 and below 1"):
        prune_blocks(model, digits.train, sparsity=1.0, **common)
    with pytest.raises(PruningError, match="one of"):
        prune_blocks(model, digits.train, sparsity=0.5, block_rows=5, **common)
    with pytest.raises(PruningError, match="at most"):
        prune_blocks(model, digits.train, sparsity=0.99, block_rows=4, **common)
    with pytest.raises(PruningError, match="names no layer"):
        prune_blocks(model, digits.train, sparsity=0.5, budget=Budget.LATENCY, latencies_us={"nothing": 1.0}, **common)
    lone = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(108, 10))
    assert set(prune_blocks(lone, digits.train, sparsity=0.5, **common).masks) == {"2.weight"}
    with pytest.raises(PruningError, match="no layer can be sparse"):
        prune_blocks(nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten()), digits.train, sparsity=0.5, **common)
