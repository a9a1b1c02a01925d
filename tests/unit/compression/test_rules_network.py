"""Rules in a network's place and in front of it: one model, whose answers are the rules' or the network's."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edge_agent.runtime import check_golden, load_model
from edge_agent.runtime import graph as g
from orchestrator.compression.artifact import Artifact
from orchestrator.compression.data import Preprocessing, images_to_tensor
from orchestrator.compression.errors import DataError, FidelityError, RecipeError
from orchestrator.compression.evaluation import evaluate
from orchestrator.compression.pipeline import compress
from orchestrator.compression.recipe import Recipe
from orchestrator.compression.rules.budget import RuleBudget
from orchestrator.compression.rules.cascade import choose_temperature, fit_threshold
from orchestrator.compression.rules.editing import TENSOR_FIELDS, Editing
from orchestrator.compression.rules.network import NetworkRules, distill_rules
from orchestrator.compression.rules.recipe import CascadeRecipe, RulesRecipe
from orchestrator.compression.rules.tap import run
from orchestrator.compression.rules.values import softmax
from orchestrator.datasets import Splits
from orchestrator.onnx.export import export_onnx
from protos import model_pb2 as pb
from tests.kernels.random_models import random_model
from tests.unit.compression.onnx_files import run_onnx

QUICK = RuleBudget(rules=20, trees=6, depth=2, root_queries=150, leaf_queries=20, overgrow=1.0)
LENIENT = CascadeRecipe(most_drop=0.1, least_answered=0.2)
RECIPE = RulesRecipe(budget=QUICK, fidelity_floor=0.3, folds=2, repeats=1, samples=400, cascade=LENIENT)


@pytest.fixture(scope="module")
def network(digits: Splits, _trained: dict[str, nn.Module]) -> Artifact:
    return compress(_trained["small"], digits, Recipe(calibration_count=64), name="digits")


@pytest.fixture(scope="module")
def cascade(network: Artifact, digits: Splits) -> NetworkRules:
    return distill_rules(network, digits.train, digits.calibrate, RECIPE)


def tapped(model: Artifact, name: str) -> Artifact:
    """The same model with another operator's output."""
    editing = Editing.of(model)
    return editing.finish(next(op.output for op in editing.model.operators if op.name == name))


def test_each_answer_is_the_rules_or_the_networks(cascade: NetworkRules, network: Artifact, digits: Splits) -> None:
    images = digits.choose.inputs
    gate = run(tapped(cascade.artifact, "rules.gate"), images)[:, 0]
    answers, rules, behind = (
        run(m, images) for m in (cascade.artifact, tapped(cascade.artifact, "rules.answer"), network)
    )
    assert set(gate.tolist()) == {-128, 127}
    assert (answers[gate > 0] == rules[gate > 0]).all()
    assert (answers[gate < 0] == behind[gate < 0]).all()


def test_the_rules_answer_where_they_are_sure(cascade: NetworkRules, digits: Splits) -> None:
    assert cascade.cascade is not None
    images = np.concatenate([digits.calibrate.inputs, digits.train.inputs[RECIPE.samples :]])
    assert len(images) == cascade.cascade.samples
    gate = run(tapped(cascade.artifact, "rules.gate"), images)[:, 0]
    sure = run(tapped(cascade.artifact, "rules.confidence"), images).max(axis=1)
    assert ((gate > 0) == (sure > cascade.cascade.threshold)).all()
    assert (gate > 0).mean() == pytest.approx(cascade.cascade.answered)
    assert cascade.cascade.answered >= 0.2


def test_what_is_lost_is_within_the_limit(cascade: NetworkRules, network: Artifact, digits: Splits) -> None:
    assert cascade.cascade is not None
    assert cascade.cascade.drop <= cascade.cascade.drop_upper <= 0.1
    lost = evaluate(network, digits.choose).accuracy - evaluate(cascade.artifact, digits.choose).accuracy
    assert lost <= 0.1


def test_the_gate_stands_before_the_network(cascade: NetworkRules) -> None:
    names = [operator.name for operator in cascade.artifact.load().graph.operators]
    assert names[0].startswith("rules.")
    assert names.index("rules.gate") < min(index for index, name in enumerate(names) if not name.startswith("rules."))
    assert names[-1] == "rules.select"


def test_a_cascade_is_one_onnx_file(cascade: NetworkRules, digits: Splits, preprocessing: Preprocessing) -> None:
    images = digits.choose.inputs[:200]
    onnx_file = export_onnx(cascade.artifact.model, cascade.artifact.blobs.__getitem__)
    theirs = run_onnx(onnx_file, images_to_tensor(images, preprocessing)).numpy().argmax(axis=1)
    assert (theirs == run(cascade.artifact, images).argmax(axis=1)).mean() >= 0.99


def test_golden_vectors_and_labels_are_there(cascade: NetworkRules, digits: Splits) -> None:
    check_golden(cascade.artifact.load(), cascade.artifact.golden)
    assert cascade.artifact.load().graph.output.labels == digits.labels


def test_the_text_has_the_figures(cascade: NetworkRules) -> None:
    assert cascade.text.startswith(f"{cascade.forest.rules} rules in ")
    assert "in front of it rules answer" in cascade.text
    assert cascade.text.count("if ") >= cascade.forest.rules - len(cascade.forest.trees)


def test_rules_alone_over_a_bottleneck_keep_what_leads_there(network: Artifact, digits: Splits) -> None:
    before = network.load().graph
    bottleneck = before.operators[1]
    recipe = RulesRecipe(
        budget=QUICK, features=bottleneck.name, pool=2, fidelity_floor=0.0, folds=2, repeats=1, samples=300
    )
    made = distill_rules(network, digits.train, digits.calibrate, recipe)
    kept = made.artifact.load().graph
    assert isinstance(kept.operators[-1].kind, g.RuleTable)
    assert before.operators[-1].name not in {operator.name for operator in kept.operators}
    assert evaluate(made.artifact, digits.choose).accuracy > 0.5


def test_rules_alone_over_the_input_need_no_network(network: Artifact, digits: Splits) -> None:
    recipe = RulesRecipe(budget=QUICK, pool=4, fidelity_floor=0.0, folds=2, repeats=1, samples=300)
    made = distill_rules(network, digits.train, digits.calibrate, recipe)
    kinds = [type(operator.kind) for operator in made.artifact.load().graph.operators]
    assert kinds == [g.AveragePool, g.Flatten, g.RuleTable]
    assert made.artifact.size_bytes <= 4096


def test_what_cannot_follow_or_answer_enough_is_refused(network: Artifact, digits: Splits) -> None:
    small = RuleBudget(rules=2, trees=1, root_queries=0)
    with pytest.raises(FidelityError, match="2 rules follow the teacher on"):
        distill_rules(
            network, digits.train, digits.calibrate, RulesRecipe(budget=small, samples=200, folds=2, repeats=1)
        )
    strict = CascadeRecipe(most_drop=0.0, least_answered=0.9)
    recipe = RulesRecipe(budget=small, fidelity_floor=0.0, samples=200, folds=2, repeats=1, cascade=strict)
    with pytest.raises(FidelityError, match=r"90 % at no more than 0\.00 points were asked for"):
        distill_rules(network, digits.train, digits.calibrate, recipe)


@pytest.mark.parametrize(
    ("recipe", "error", "words"),
    [
        (RulesRecipe(features="nowhere"), RecipeError, "no operator 'nowhere'; it has"),
        (RulesRecipe(pool=9), RecipeError, "cannot be pooled to 9 x 9"),
    ],
)
def test_features_that_are_not_there_are_named(
    network: Artifact, digits: Splits, recipe: RulesRecipe, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        distill_rules(network, digits.train, digits.calibrate, recipe)


def test_no_samples_are_no_teacher(network: Artifact, digits: Splits) -> None:
    with pytest.raises(DataError, match="growing rules needs at least 5"):
        distill_rules(network, digits.train.take(slice(0, 3)), digits.calibrate, RulesRecipe())
    tiny = dataclasses.replace(RECIPE, budget=RuleBudget(rules=2, trees=1, root_queries=0), fidelity_floor=0.0)
    with pytest.raises(DataError, match="threshold needs at least 1"):
        distill_rules(network, digits.train.take(slice(0, 400)), digits.calibrate.take(slice(0, 0)), tiny)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_a_threshold_is_as_low_as_the_bound_allows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sure = rng.integers(-128, 128, 800).astype(np.int8)
    network_right = rng.random(800) < 0.9
    rules_right = np.where(rng.random(800) < (sure + 128.0) / 200, network_right, rng.random(800) < 0.5)
    fit = fit_threshold(sure, rules_right, network_right, most_drop=0.02, least_answered=0.0, confidence=0.95)
    assert fit.drop_upper <= 0.02
    answers = sure > fit.threshold
    assert fit.answered == pytest.approx(answers.mean())
    lost = (answers & network_right & ~rules_right).sum() - (answers & rules_right & ~network_right).sum()
    assert fit.drop == pytest.approx(lost / 800)


def test_the_temperature_leaves_room_above_the_median() -> None:
    scores = np.random.default_rng(0).integers(-128, 128, (500, 10)).astype(np.int8)
    temperature = choose_temperature(scores, 0.3)
    assert np.median(softmax(scores * (0.3 / temperature)).max(axis=1)) == pytest.approx(0.75, abs=0.01)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_leaving_out_what_nobody_reads_changes_no_output(seed: int) -> None:
    model = random_model(seed)
    message = model.message()
    rng = np.random.default_rng(seed)
    wanted = message.operators[int(rng.integers(len(message.operators)))].output
    message.output.activation = wanted
    del message.output.labels[:]
    whole = load_model(message.SerializeToString(deterministic=True), model.blobs.__getitem__, path="reference")
    smaller = Editing.of(Artifact(model.data, model.blobs)).finish(wanted)
    x = rng.normal(size=whole.graph.input_activation.elements).astype("<f4").tobytes()
    assert smaller.load(path="reference").infer_float(x) == whole.infer_float(x)
    assert len(smaller.model) <= len(message.SerializeToString())


NOT_TENSORS = {
    *("output", "stride_h", "stride_w", "groups", "top", "bottom", "left", "right", "kernel_h", "kernel_w"),
    *("reciprocal", "trees", "heads", "epsilon", "axes", "inputs"),
}


def test_every_index_of_a_tensor_is_known() -> None:
    """A field that is added to an operator must be told to `editing`, or models would lose the tensor."""
    found, seen = set(), set()

    def walk(descriptor: object) -> None:
        for field in descriptor.fields:  # type: ignore[attr-defined]
            if field.message_type is not None and field.message_type.full_name not in seen:
                seen.add(field.message_type.full_name)
                walk(field.message_type)
            elif field.type == field.TYPE_UINT32:
                found.add(field.name)

    walk(pb.Operator.DESCRIPTOR)
    assert found - NOT_TENSORS <= TENSOR_FIELDS


def test_a_recipe_reads_back_and_unknown_fields_are_refused() -> None:
    assert RulesRecipe.from_json(RECIPE.to_json()) == RECIPE
    assert RulesRecipe.from_json("{}") == RulesRecipe()
    for text in ('{"deep": 1}', '{"budget": {"rulez": 3}}', "[]", "{", json.dumps({"cascade": 3}), '{"version": 9}'):
        with pytest.raises(RecipeError):
            RulesRecipe.from_json(text)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RulesRecipe(fidelity_floor=1.5),
        lambda: RulesRecipe(folds=1),
        lambda: RulesRecipe(pool=-1),
        lambda: CascadeRecipe(most_drop=-0.1),
        lambda: CascadeRecipe(confidence=1.0),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(RecipeError):
        make()
