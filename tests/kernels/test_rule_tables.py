"""Rule tables and selects: the law as written, what a table may not say, and what a run leaves out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import ModelFormatError
from edge_agent.runtime import available_paths, check_golden, load_model, make_golden
from edge_agent.runtime.engine import Engine
from protos import model_pb2 as pb
from tests.kernels.graphs import BuiltModel, GraphBuilder
from tests.kernels.test_same_bits import assert_same_bits

pytestmark = pytest.mark.kernels

PATHS = available_paths()
LEAF = 0


def condition(feature: int, threshold: int) -> int:
    return feature | (threshold + 128) << 16 | 1 << 24


def rules_model(words: list[int], scores: list[list[int]], trees: int = 1, features: int = 3) -> BuiltModel:
    """A table whose scores reach the output as they are; the input grid has the scale 1 and zero point 0."""
    builder = GraphBuilder(np.random.default_rng(0))
    x = builder.activation((features,), 1.0, 0)
    builder.model.input.activation, builder.model.input.multiplier = x, 1.0
    form = pb.Requantize(shift=builder.tensor(np.zeros(1, np.int8)), qmin=-128, qmax=127)
    table = pb.RuleTable(nodes=builder.tensor(np.array(words, np.uint32)), trees=trees, requantize=form)
    table.scores = builder.tensor(np.array(scores, np.int8))
    y = builder.activation((len(scores[0]),), 1.0, 0)
    return builder.finish(builder.operator([x], y, rule_table=table))


def load(model: BuiltModel, path: str) -> Engine:
    return load_model(model.data, model.blobs.__getitem__, path=path)


def answer(engine: Engine, x: list[float]) -> list[int]:
    return np.frombuffer(engine.infer_float(np.array(x, "<f4").tobytes()), np.int8).tolist()


@pytest.mark.parametrize("path", PATHS)
def test_a_value_above_the_threshold_goes_right(path: str) -> None:
    tree = [condition(1, 5), condition(0, -3), LEAF, LEAF, LEAF]
    engine = load(rules_model(tree, [[1], [2], [3]]), path)  # leaves in stored order
    assert answer(engine, [0, 6, 0]) == [1]
    assert answer(engine, [-3, 5, 0]) == [2]
    assert answer(engine, [-2, 5, 0]) == [3]


@pytest.mark.parametrize("path", PATHS)
def test_trees_add_up_and_saturate(path: str) -> None:
    engine = load(rules_model([condition(0, 0), LEAF, LEAF, LEAF], [[100, -100], [1, 1], [100, -100]], 2), path)
    assert answer(engine, [0, 0, 0]) == [101, -99]
    assert answer(engine, [1, 0, 0]) == [127, -128]


def walk(words: np.ndarray, trees: int, root: int, x: np.ndarray) -> int:
    """The leaf's row, found with the rule of the page and nothing else."""
    at = root
    while words[at]:
        child = trees + 2 * int((words[:at] != 0).sum())
        threshold = (int(words[at]) >> 16 & 0xFF) - 128
        at = child + int(x[int(words[at]) & 0xFFFF] > threshold)
    return int((words[:at] == 0).sum())


@given(seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_the_reference_is_the_written_law(seed: int) -> None:
    rng = np.random.default_rng(seed)
    builder, trees, classes = GraphBuilder(rng, fused_clamps=False), int(rng.integers(1, 5)), int(rng.integers(1, 12))
    x = builder.input((int(rng.integers(1, 40)),), raw=False)
    built = builder.finish(builder.rule_table(x, classes, int(rng.integers(0, 60)), trees, by_shift=True))
    engine = load(built, "reference")
    shift, words, scores = (
        np.frombuffer(t.data, dtype) for t, dtype in zip(engine.graph.tensors, ("i1", "<u4", "i1"), strict=True)
    )
    q = rng.integers(-128, 128, (9, engine.graph.input_activation.elements)).astype(np.int8)
    values = (q.astype(np.float32) - engine.graph.input_activation.zero_point) * engine.graph.input_activation.scale
    got = np.frombuffer(engine.infer_batch(values.astype("<f4").tobytes(), raw=False), np.int8).reshape(9, classes)
    for sample, output in zip(q, got, strict=True):
        acc = sum(scores.reshape(-1, classes)[walk(words, trees, root, sample)].astype(int) for root in range(trees))
        s = shift.astype(int)
        rounded = np.where(s > 0, (acc + (1 << np.maximum(s - 1, 0))) >> np.maximum(s, 0), acc << np.maximum(-s, 0))
        assert output.tolist() == np.clip(rounded + engine.graph.output_activation.zero_point, -128, 127).tolist()


@pytest.mark.parametrize("trees", [1, 2, 255, 256])
def test_every_number_of_trees_has_the_same_bits(trees: int) -> None:
    builder = GraphBuilder(np.random.default_rng(trees))
    x = builder.rule_table(builder.input((17,), affine=True), 65, 3 * trees, trees)
    assert_same_bits(builder.finish(x), trees)


CHAIN = [word for n in range(65) for word in (condition(0, n), LEAF)]  # each condition's other node is a leaf


@pytest.mark.parametrize(
    ("words", "trees", "reason"),
    [
        ([condition(3, 0), LEAF, LEAF], 1, "a feature that is not there"),
        ([condition(0, 0) | 1 << 25, LEAF, LEAF], 1, "neither a condition nor a leaf"),
        ([condition(0, 0) & 0xFFFFFF, LEAF, LEAF], 1, "neither a condition nor a leaf"),
        ([condition(0, 0), condition(0, 0), LEAF], 1, "nodes are not there"),
        ([LEAF, LEAF, LEAF], 1, "no condition leads to a node"),
        ([LEAF, condition(0, 0), LEAF], 1, "no condition leads to a node"),
        ([condition(0, 0), *CHAIN, LEAF, LEAF], 1, "more than 64 conditions"),
        ([LEAF], 0, "0 trees"),
        ([LEAF], 2, "1 nodes are out of range"),
        ([LEAF] * 257, 257, "257 trees"),
    ],
)
def test_a_malformed_table_is_refused_by_every_path(words: list[int], trees: int, reason: str) -> None:
    model = rules_model(words, [[0]] * max(1, (len(words) + trees) // 2), trees)
    with pytest.raises(ModelFormatError, match=reason):
        load(model, "reference")
    for path in PATHS[:-1]:
        with pytest.raises(ModelFormatError):
            load(model, path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("row", [0, 1])
def test_an_affine_input_is_finite(row: int, value: float) -> None:
    builder = GraphBuilder(np.random.default_rng(0))
    x = builder.input((4,), raw=False)
    affine = np.ones((2, 4), np.float32)
    affine[row, 2] = value
    builder.model.input.channel_affine, builder.model.input.multiplier = builder.tensor(affine), 1
    model = builder.finish(builder.table(x))
    for path in PATHS:
        with pytest.raises(ModelFormatError):
            load(model, path)


@pytest.mark.parametrize("path", PATHS)
def test_each_channel_has_its_own_offset_and_multiplier(path: str) -> None:
    builder = GraphBuilder(np.random.default_rng(0))
    x = builder.activation((3,), 1.0, -7)
    affine = builder.tensor(np.array([[100, 0, -1], [0.5, 10, 1]], np.float32))
    builder.model.input.CopyFrom(pb.Input(activation=x, multiplier=1, channel_affine=affine))
    clamp = pb.Clamp(qmin=-128, qmax=127)
    built = builder.finish(builder.operator([x], builder.activation((3,), 1.0, -7), clamp=clamp))
    assert answer(load(built, path), [101, 1.25, np.inf]) == [-7, 5, 127]  # 0.5 and 12.5 round to even


def cascade(*, gate_first: bool = True, side: int = 64) -> BuiltModel:
    """A gate that opens where the first feature is above 0, a table in front, a network of many products behind."""
    builder = GraphBuilder(np.random.default_rng(4), fused_clamps=False)
    x = builder.input((side,), raw=False)
    network = x if gate_first else behind(builder, x)
    words = np.array([condition(0, 0), LEAF, LEAF], np.uint32)
    form = pb.Requantize(shift=builder.tensor(np.zeros(1, np.int8)), qmin=-128, qmax=127)
    table = pb.RuleTable(nodes=builder.tensor(words), scores=builder.tensor(np.array([[-5], [5]], np.int8)), trees=1)
    table.requantize.CopyFrom(form)
    gate = builder.operator([x], builder.activation((1,), 1.0, 0), rule_table=table)
    rules = builder.rule_table(x, 10, 20)
    if gate_first:
        network = behind(builder, x)
    grid = builder.model.activations[network]
    builder.model.activations[rules].scale, builder.model.activations[rules].zero_point = grid.scale, grid.zero_point
    y = builder._same_grid(network, (10,))
    return builder.finish(builder.operator([gate, rules, network], y, select=pb.Select(threshold=5)))


def behind(builder: GraphBuilder, x: int) -> int:
    for _ in range(3):
        x = builder.linear(x, 1500)
    return builder.linear(x, 10)


def first_feature(engine: Engine, q: int) -> bytes:
    grid = engine.graph.input_activation
    values = np.zeros(grid.elements)
    values[0] = (q - grid.zero_point) * grid.scale
    return values.astype("<f4").tobytes()


@pytest.mark.parametrize("gate_first", [True, False])
@pytest.mark.parametrize("path", PATHS)
def test_a_select_takes_the_branch_that_its_gate_says(path: str, gate_first: bool) -> None:
    model = cascade(gate_first=gate_first)
    engine = load(model, path)
    names = [op.name for op in engine.graph.operators]
    rules, network = (engine.graph.operators[-1].inputs[i] for i in (1, 2))
    positions = {op.output: names.index(op.name) for op in engine.graph.operators}
    for q, branch in ((1, rules), (0, network), (1, rules)):
        x = first_feature(engine, q)
        trace = engine.trace(x, raw=False)
        assert engine.infer_float(x) == trace[-1] == trace[positions[branch]]


@pytest.mark.skipif(PATHS == ("reference",), reason="the C++ engine is not built")
def test_what_is_not_needed_is_not_run() -> None:
    engine = load(cascade(), PATHS[0])
    answered, deferred = first_feature(engine, 1), first_feature(engine, 0)
    times: dict[bytes, list[int]] = {answered: [], deferred: []}
    for _ in range(30):
        for x, seen in times.items():
            begun = time.perf_counter_ns()
            engine.infer_float(x)
            seen.append(time.perf_counter_ns() - begun)
    assert statistics.median(times[deferred]) > 5 * statistics.median(times[answered])


@pytest.mark.parametrize("path", PATHS)
def test_golden_vectors_hold_the_operators_that_a_run_leaves_out(path: str) -> None:
    model = cascade()
    reference = load(model, "reference")
    golden = make_golden(reference, float32=[first_feature(reference, 1), first_feature(reference, 0)])
    check_golden(load(model, path), golden)


def nested(rng: np.random.Generator) -> BuiltModel:
    """Selects behind selects, with branches that share operators: what one leaves out another may need."""
    builder = GraphBuilder(rng)
    values = [builder.input((6,), raw=False)]
    grid = builder.model.activations[values[0]]
    for _ in range(int(rng.integers(4, 20))):
        a, b = (int(v) for v in rng.choice(values, 2))
        if rng.random() < 0.5 and len(values) > 2:
            gate = builder.rule_table(int(rng.choice(values)), 1, int(rng.integers(1, 6)))
            values.append(builder.select(gate, a, b))
        else:
            values.append(builder.clamp(a))
        assert builder.model.activations[values[-1]].scale == grid.scale
    return builder.finish(values[-1])


@given(seed=st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_nested_selects_leave_out_nothing_that_is_needed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = nested(rng)
    reference = load(model, "reference")
    engines = [load(model, path) for path in PATHS[:-1]]
    for _ in range(6):  # one arena after another input: stale values must not be taken
        x = (rng.normal(size=6) * 60 * reference.graph.input_activation.scale).astype("<f4").tobytes()
        for engine in engines:
            assert engine.infer_float(x) == reference.infer_float(x)


def test_edits_of_a_select_are_refused() -> None:
    base = cascade()
    edits: list[tuple[Callable[[pb.Operator, pb.Model], object], str]] = [
        (lambda op, m: op.inputs.pop(), "2 inputs"),
        (lambda op, m: setattr(op.select, "threshold", 128), "threshold"),
        (lambda op, m: op.inputs.__setitem__(0, op.inputs[1]), "gate is one value"),
        (lambda op, m: setattr(m.activations[op.inputs[1]], "scale", 0.5), "scale and zero point"),
    ]
    for edit, reason in edits:
        message = base.message()
        edit(message.operators[-1], message)
        with pytest.raises(ModelFormatError, match=reason):
            load(BuiltModel(message.SerializeToString(deterministic=True), base.blobs), "reference")
