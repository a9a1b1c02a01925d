"""Transformers and 1-D networks: captured exactly, quantized, and run by every path as they were simulated."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from edge_agent.runtime import available_paths, parse_model
from edge_agent.runtime import graph as g
from orchestrator.compression.capture import capture, ir, total_macs
from orchestrator.compression.capture.views import View, contiguous, is_run, run_of, stored, to_storage
from orchestrator.compression.data import Preprocessing, images_to_tensor, labels_to_tensor
from orchestrator.compression.errors import CaptureError, QuantizationError
from orchestrator.compression.evaluation import evaluate, evaluate_network
from orchestrator.compression.pipeline import build, compress
from orchestrator.compression.prune import prune_channels
from orchestrator.compression.qat import train_quantized
from orchestrator.compression.quantize import QuantizedGraph
from orchestrator.compression.quantize.network import quantize_network
from orchestrator.compression.recipe import QuantizedTraining, Recipe, Rounding, Scheme
from orchestrator.datasets import Splits
from tests.unit.compression.sequence_networks import NETWORKS, VisionTransformer


def made(name: str) -> nn.Module:
    """Random weights that no layer norm or batch norm leaves at 1 and 0."""
    torch.manual_seed(5)
    network = NETWORKS[name]()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_capturing_changes_nothing_that_is_computed(name: str) -> None:
    network = made(name)
    graph = capture(network, (1, 8, 8))
    x = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        wanted = copy.deepcopy(network).double()(x)
    assert float(wanted.std()) > 0.01
    assert torch.allclose(graph.run(x), wanted, rtol=0, atol=1e-12)


class StockAttention(nn.Module):
    """torch's own attention of patches among themselves, then of patches to other, smaller ones."""

    def __init__(self, *, heads: int, batch_first: bool, need_weights: bool) -> None:
        super().__init__()
        self.embed, self.fine = nn.Conv2d(1, 16, 2, 2), nn.Conv2d(1, 8, 1)
        self.norm = nn.LayerNorm(16)
        options = {"batch_first": batch_first, "dropout": 0.1}
        self.among = nn.MultiheadAttention(16, heads, **options)
        self.across = nn.MultiheadAttention(16, heads, kdim=8, vdim=8, **options)
        self.head = nn.Linear(16, 10)
        self.batch_first, self.need_weights = batch_first, need_weights

    def forward(self, x: Tensor) -> Tensor:
        axes = (0, 2, 1) if self.batch_first else (2, 0, 1)
        x, fine = (part(x).flatten(2).permute(axes) for part in (self.embed, self.fine))
        y = self.norm(x)
        x = x + self.among(y, y, y, need_weights=self.need_weights)[0]
        x = x + self.across(x, fine, fine, need_weights=self.need_weights)[0]
        return self.head((x if self.batch_first else x.transpose(0, 1)).mean(dim=1))


class StockEncoder(nn.Module):
    def __init__(self, *, batch_first: bool, norm_first: bool, activation: str = "gelu") -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, 16, 2, 2)
        self.position = nn.Parameter(0.1 * torch.randn(1, 16, 16))
        layer = nn.TransformerEncoderLayer(
            16, 4, 32, batch_first=batch_first, norm_first=norm_first, activation=activation
        )
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(16), enable_nested_tensor=False)
        self.head = nn.Linear(16, 10)
        self.batch_first = batch_first

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2) + self.position
        x = self.encoder(x) if self.batch_first else self.encoder(x.transpose(0, 1)).transpose(0, 1)
        return self.head(x.mean(dim=1))


def captured_exactly(network: nn.Module) -> bool:
    network = network.eval().double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        x = torch.randn(3, 1, 8, 8, dtype=torch.float64)
        wanted = network(x)
    graph = capture(network.float(), (1, 8, 8))
    return torch.allclose(graph.run(x), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("heads", [1, 2, 16])
def test_torchs_own_attention_is_captured(heads: int, batch_first: bool, need_weights: bool) -> None:
    torch.manual_seed(3)
    assert captured_exactly(StockAttention(heads=heads, batch_first=batch_first, need_weights=need_weights))


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_torchs_own_encoder_is_captured(batch_first: bool, norm_first: bool) -> None:
    torch.manual_seed(3)
    network = StockEncoder(batch_first=batch_first, norm_first=norm_first)
    assert captured_exactly(network)
    with torch.no_grad():  # in which torch itself computes it in another way
        capture(network, (1, 8, 8))


def test_torchs_own_encoder_runs_on_every_path_as_it_was_simulated(
    digits: Splits, preprocessing: Preprocessing
) -> None:
    torch.manual_seed(3)
    network = StockEncoder(batch_first=True, norm_first=False, activation="relu").eval()
    inputs = digits.certify.inputs[:100]
    artifact = compress(network, digits, Recipe(), name="encoder", max_accuracy_drop=None)
    simulated = quantize_network(network, digits.calibrate, Recipe(), preprocessing=preprocessing)
    outputs = simulated.run(images_to_tensor(inputs, preprocessing))
    for path in available_paths():
        raw = artifact.load(path=path).infer_batch(inputs.tobytes(), raw=True)
        assert np.array_equal(np.frombuffer(raw, np.int8).reshape(100, -1), outputs.numpy()), path
    with torch.no_grad():
        wanted = network(images_to_tensor(inputs, preprocessing))
    real = simulated.grids[simulated.graph.output].dequantize(outputs)
    assert float((real - wanted).abs().mean()) < 0.1 * float(wanted.std())


@pytest.mark.parametrize("scheme", list(Scheme))
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_path_gives_what_was_simulated(
    digits: Splits, preprocessing: Preprocessing, name: str, scheme: Scheme
) -> None:
    network = made(name)
    quantized = quantize_network(network, digits.calibrate, Recipe(scheme=scheme), preprocessing=preprocessing)
    artifact = build(quantized, digits.calibrate, name="net", preprocessing=preprocessing, labels=digits.labels)
    inputs = digits.choose.inputs[:100]
    simulated = quantized.run(images_to_tensor(inputs, preprocessing))
    for path in available_paths():
        output = np.frombuffer(artifact.load(path=path).infer_batch(inputs.tobytes(), raw=True), np.int8)
        assert np.array_equal(output.reshape(100, -1), simulated.numpy()), path
    with torch.no_grad():
        wanted = network(images_to_tensor(inputs, preprocessing))
    real = quantized.grids[quantized.graph.output].dequantize(simulated)
    allowed = 0.1 if scheme is Scheme.INTEGER else 0.3
    assert float((real - wanted).abs().mean()) < allowed * float(wanted.std())


def test_a_transformer_moves_nothing_between_its_layers() -> None:
    graph = capture(made("transformer"), (1, 8, 8))
    assert not [node for node in graph.nodes if isinstance(node, ir.Permute | ir.Select | ir.Scale)]
    products = [node for node in graph.nodes if isinstance(node, ir.MatMul)]
    layouts = [(p.a_stacked, p.b_stacked, p.b_transposed, p.output_stacked) for p in products]
    assert layouts == [(False, False, True, True), (True, False, False, False)] * 2
    assert [product.factor for product in products] == [1.0] * 4  # the scale of scores is in the queries


def test_products_of_activations_count_as_multiplications() -> None:
    embed, layers, attention = 16 * 16 * 4, 2 * 16 * (4 * 16 * 16 + 2 * 16 * 32), 2 * 2 * 16 * 16 * 16
    assert total_macs(capture(made("transformer"), (1, 8, 8))) == embed + layers + attention + 160


@pytest.fixture(scope="module")
def transformer(digits: Splits, preprocessing: Preprocessing) -> nn.Module:
    """Trained by Adam, which takes a transformer where it should go in seconds."""
    torch.manual_seed(1)
    network = VisionTransformer()
    x, labels = images_to_tensor(digits.train.inputs, preprocessing), labels_to_tensor(digits.train.labels)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    epochs, batches = 13, len(x) // 64
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=epochs * batches)
    for _ in range(epochs):
        for batch in torch.randperm(len(x))[: batches * 64].split(64):
            optimizer.zero_grad()
            functional.cross_entropy(network(x[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@pytest.mark.parametrize(
    ("recipe", "allowed"),
    [(Recipe(), 0.015), (Recipe(weight_bits=4), 0.03), (Recipe(scheme=Scheme.POWER_OF_TWO), 0.02)],
)
def test_a_trained_transformer_keeps_its_accuracy(
    transformer: nn.Module, digits: Splits, preprocessing: Preprocessing, recipe: Recipe, allowed: float
) -> None:
    fp32 = evaluate_network(transformer, digits.certify, preprocessing=preprocessing).accuracy
    quantized = quantize_network(transformer, digits.calibrate, recipe, preprocessing=preprocessing)
    artifact = build(quantized, digits.calibrate, name="net", preprocessing=preprocessing, labels=digits.labels)
    assert fp32 > 0.88
    assert evaluate(artifact, digits.certify).accuracy > fp32 - allowed
    kinds = {type(operator.kind) for operator in parse_model(artifact.model).operators}
    assert {g.MatMul, g.LayerNorm, g.Softmax, g.Constant, g.Table} <= kinds


@pytest.mark.parametrize("scheme", list(Scheme))
def test_a_transformer_learns_two_bits_and_runs_as_it_was_trained(
    transformer: nn.Module, digits: Splits, preprocessing: Preprocessing, scheme: Scheme
) -> None:
    images = images_to_tensor(digits.certify.inputs, preprocessing)
    training = QuantizedTraining(epochs=8, batch_size=64)
    recipe = Recipe(scheme=scheme, weight_bits=2, rounding=Rounding.NEAREST, training=training)
    learned = train_quantized(transformer, digits.train, digits.calibrate, recipe, preprocessing=preprocessing)
    rounded = quantize_network(transformer, digits.calibrate, recipe, preprocessing=preprocessing)
    with torch.no_grad():
        wanted = transformer(images).log_softmax(dim=1)

    def distance(graph: QuantizedGraph) -> float:
        answers = graph.grids[graph.graph.output].dequantize(graph.run(images)).log_softmax(dim=1)
        return float(functional.kl_div(answers, wanted, reduction="batchmean", log_target=True))

    assert distance(learned) < 0.5 * distance(rounded)
    moved = next(node for node in learned.graph.nodes if isinstance(node, ir.LayerNorm))
    begun = next(node for node in rounded.graph.nodes if isinstance(node, ir.LayerNorm))
    assert not torch.equal(moved.gain, begun.gain)
    artifact = build(learned, digits.calibrate, name="net", preprocessing=preprocessing, labels=digits.labels)
    simulated = learned.run(images).numpy()
    for path in available_paths():
        raw = artifact.load(path=path).infer_batch(digits.certify.inputs.tobytes(), raw=True)
        assert np.array_equal(np.frombuffer(raw, np.int8).reshape(simulated.shape), simulated), path


def test_pruning_takes_only_hidden_channels_of_a_transformer(
    transformer: nn.Module, digits: Splits, preprocessing: Preprocessing
) -> None:
    pruned = prune_channels(transformer, digits.train, preprocessing=preprocessing, macs_fraction=0.85)
    changed = {
        name
        for name, parameter in pruned.named_parameters()
        if parameter.shape != transformer.get_parameter(name).shape
    }
    assert changed
    assert all(".mlp." in name for name in changed)


class Masked(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(x, x, x, is_causal=True)


class Middle(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x)[:, :, 3:5]


class Outer(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + x[:, :, :1]


class OverSamples(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(torch.relu(x).permute(1, 0, 2, 3), dim=1)


class InfiniteMask(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x + torch.full((8, 8), -math.inf).triu(1), dim=-1)


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (Masked(), "masks have no operator yet"),
        (InfiniteMask(), "masks have no operator yet"),
        (Middle(), "only channels, or the first token"),
        (Outer(), "only channels, or the first token"),
        (OverSamples(), "keep samples apart"),
        (nn.Sequential(nn.LayerNorm((8, 8))), "only over the last one"),
        (nn.Sequential(nn.Flatten(2), nn.Flatten(1), nn.GRU(64, 3)), "recurrent|not supported|torch.export"),
        (nn.Sequential(nn.ConvTranspose2d(1, 2, 3)), "transposed convolutions have no operator yet"),
    ],
)
def test_what_no_device_can_is_refused_by_name(network: nn.Module, why: str) -> None:
    with pytest.raises(CaptureError, match=why):
        capture(network, (1, 8, 8))


class Unscaled(nn.Module):
    """A product whose scale no layer can take in, because its input is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Conv2d(1, 4, 2, 2), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        scores: Tensor = x @ x.transpose(1, 2) * 0.3
        return self.head(scores.mean(dim=1))


def test_a_factor_that_is_no_power_of_two_is_refused_where_only_shifts_are_allowed(
    digits: Splits, preprocessing: Preprocessing
) -> None:
    network = Unscaled()
    quantize_network(network, digits.calibrate, Recipe(), preprocessing=preprocessing)
    with pytest.raises(QuantizationError, match="no power of two"):
        quantize_network(network, digits.calibrate, Recipe(scheme=Scheme.POWER_OF_TWO), preprocessing=preprocessing)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_view_says_where_torch_would_find_each_element(data: st.DataObject) -> None:
    """Any chain of permutations and reshapes, against torch on numbered elements."""
    shape = data.draw(st.tuples(*[st.sampled_from([1, 2, 3, 4, 6])] * 3))
    channels, height, width = shape
    elements = math.prod(shape)
    storage = torch.arange(2 * elements).reshape(2, height, width, channels)
    tensor, view = storage.permute(0, 3, 1, 2), stored("x", shape, 2)
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.booleans()):
            order = data.draw(st.permutations(range(tensor.ndim)))
            tensor, view = tensor.permute(order), view.permute(order)
        else:
            wanted = data.draw(st.sampled_from(_factorisations(2 * elements)))
            seen = view.reshape(wanted)
            if seen is None:
                continue
            tensor, view = tensor.reshape(wanted), seen
        assert view.shape == tuple(tensor.shape)
    assert torch.equal(_elements(view), tensor.reshape(-1))


def _factorisations(number: int) -> list[list[int]]:
    pairs = [[a, number // a] for a in range(1, number + 1) if number % a == 0]
    return [[number], *pairs, *([a, b, rest // b] for a, rest in pairs for b in range(1, rest + 1) if rest % b == 0)]


def _elements(view: View) -> Tensor:
    """Where each element is stored, in the order of the view's dimensions."""
    places = torch.zeros(1, dtype=torch.int64)
    for size, stride in (factor for dim in view.dims for factor in dim):
        places = (places[:, None] + stride * torch.arange(size)).reshape(-1)
    return places


def test_values_of_a_view_come_back_in_the_order_of_its_storage() -> None:
    view = stored("x", (3, 2, 4), 2).permute([0, 3, 1, 2])
    values = torch.arange(24).reshape(4, 3, 2)
    assert torch.equal(to_storage(view, values), values.permute(2, 0, 1).reshape(-1))
    assert is_run(run_of(contiguous("x", [2, 3, 4]), [0, 1, 2]))
