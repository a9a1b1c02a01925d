"""Rules that stand for a network, or in front of it, as one model.

Takes the compressed network (an `Artifact`), since what rules follow and what they skip is what devices run. Growth
reads the first samples of the train split, without labels. A cascade's threshold is proven on the calibrate split and
on train samples that growth did not see, with labels: there the network is better than it will be, having learnt them,
so what rules seem to lose against it is too much rather than too little.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_agent.runtime import check_golden, parse_model
from orchestrator.compression.artifact import Artifact
from orchestrator.compression.data import require_samples
from orchestrator.compression.golden import golden_vectors
from orchestrator.compression.lower.model import serialise
from orchestrator.compression.rules import cascade as cascades
from orchestrator.compression.rules.cascade import CascadeFit
from orchestrator.compression.rules.editing import Editing
from orchestrator.compression.rules.fidelity import Fidelity, Predict, cross_validate, held_out, require_fidelity
from orchestrator.compression.rules.fitting import fit_rules, runs_as
from orchestrator.compression.rules.forest import Float, Forest, Int8
from orchestrator.compression.rules.queries import Teacher
from orchestrator.compression.rules.recipe import RulesRecipe
from orchestrator.compression.rules.table import add_rule_table, scores_activation, to_integers
from orchestrator.compression.rules.tap import INPUT, add_tap, probabilities, run
from orchestrator.compression.rules.text import Boundary, describe, to_text
from orchestrator.datasets.feature_grid import FeatureGrid, input_grid
from orchestrator.datasets.splits import Split, concatenate
from protos import model_pb2 as pb


@dataclass(frozen=True, eq=False, kw_only=True)
class NetworkRules:
    """What came of a network.

    Attributes:
        artifact: rules alone, or rules and network where `cascade` is there.
        fidelity: to the network; cross-validated for rules alone, else on the samples of the threshold.
        text: the rules to read, with these figures.
        table_bytes: nodes and scores of the answering table.
    """

    artifact: Artifact
    forest: Forest
    fidelity: Fidelity
    cascade: CascadeFit | None
    text: str
    table_bytes: int


def distill_rules(
    network: Artifact,
    train: Split,
    calibrate: Split,
    recipe: RulesRecipe,
    *,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> NetworkRules:
    """Rules over the features that `recipe` names, which answer as `network` does.

    `names` are those of a table's features, for rules that read them.

    Raises:
        RecipeError: the network has no such operator.
        DataError: a split is empty.
        FidelityError: rules follow less than the floor, or may not answer as much as was asked.
    """
    require_samples(train, at_least=recipe.folds, what="growing rules")
    require_samples(calibrate, at_least=0, what="a cascade's threshold")
    beyond = slice(recipe.samples, recipe.samples + recipe.threshold_samples)
    unseen = concatenate(calibrate, train.take(beyond))
    train = train.take(slice(0, recipe.samples))
    tapped = Editing.of(network)
    features = tapped.finish(add_tap(tapped, recipe.features, recipe.pool))
    x_NF = run(features, train.inputs)
    target_NC = probabilities(network, run(network, train.inputs))
    reads_input = (recipe.features, recipe.pool) == (INPUT, 0)
    graph = parse_model(network.model)
    grid = input_grid(graph, network.blobs.__getitem__)
    teacher = _input_teacher(network, grid) if reads_input else None
    budget = recipe.budget

    forest = fit_rules(x_NF, target_NC, budget, teacher=teacher, seed=seed)
    fitted = None
    if recipe.cascade is None:
        fidelity = _validated(x_NF, target_NC, teacher, recipe, seed)
        artifact = _alone(network, forest, x_NF, recipe)
    else:
        artifact, fitted, fidelity = _in_front(network, forest, x_NF, unseen, recipe)
    artifact = _with_golden(artifact, calibrate if len(calibrate) else train)
    is_table = reads_input and graph.input.channel_affine is not None
    return NetworkRules(
        artifact=artifact,
        forest=forest,
        fidelity=fidelity,
        cascade=fitted,
        text=_text(
            network,
            forest,
            x_NF,
            target_NC,
            fidelity,
            fitted,
            names if is_table else None,
            grid.boundary if is_table else _boundary_of(features),
        ),
        table_bytes=to_integers(forest, x_NF).table_bytes,
    )


def _validated(x_NF: Int8, target_NC: Float, teacher: Teacher | None, recipe: RulesRecipe, seed: int) -> Fidelity:
    def fit(x: Int8, target: Float, fold_seed: int) -> Predict:
        return runs_as(fit_rules(x, target, recipe.budget, teacher=teacher, seed=fold_seed), x)

    fidelity = cross_validate(fit, x_NF, target_NC, folds=recipe.folds, repeats=recipe.repeats, seed=seed)
    require_fidelity(fidelity, floor=recipe.fidelity_floor, rules=recipe.budget.rules)
    return fidelity


def _input_teacher(network: Artifact, grid: FeatureGrid) -> Teacher:
    """Asks the network about made-up inputs: the float of an int8 input is what the input's grid rounds back to it."""
    engine = network.load()
    zero_point = engine.graph.input_activation.zero_point
    classes = engine.graph.output_activation.elements

    def ask(q_NF: Int8) -> Float:
        values = grid.dequantize(q_NF.astype(np.int64) - zero_point)
        output = engine.infer_batch(values.astype("<f4").tobytes(), raw=False)
        return probabilities(network, np.frombuffer(output, np.int8).reshape(-1, classes))

    return ask


def _alone(network: Artifact, forest: Forest, x_NF: Int8, recipe: RulesRecipe) -> Artifact:
    """Rules without the rest of the network; where they read a bottleneck, what leads there stays."""
    editing = Editing.of(network)
    labels = tuple(editing.model.output.labels)
    source = add_tap(editing, recipe.features, recipe.pool)
    integers = to_integers(forest, x_NF)
    output = scores_activation(integers, name="rules.answer")
    answer = add_rule_table(editing.model, editing.tensors, integers, source=source, output=output, name="rules.answer")
    return editing.finish(answer, labels)


def _in_front(
    network: Artifact, forest: Forest, x_NF: Int8, unseen: Split, recipe: RulesRecipe
) -> tuple[Artifact, CascadeFit, Fidelity]:
    assert recipe.cascade is not None
    require_samples(unseen, what="a cascade's threshold")
    editing = Editing.of(network)
    labels, output = tuple(editing.model.output.labels), editing.model.output.activation
    operators = len(editing.model.operators)
    after = 0
    if recipe.features != INPUT:
        names = [operator.name for operator in editing.model.operators]
        after = names.index(recipe.features) + 1
    source = add_tap(editing, recipe.features, recipe.pool)
    grid = editing.model.activations[output]
    answer_grid = pb.Activation(
        name="rules.answer", dtype=pb.INT8, shape=grid.shape, scale=grid.scale, zero_point=grid.zero_point
    )
    answer = add_rule_table(
        editing.model,
        editing.tensors,
        to_integers(forest, x_NF),
        source=source,
        output=answer_grid,
        name="rules.answer",
    )
    says = run(editing.finish(answer), unseen.inputs)
    confidence = cascades.add_confidence(editing, answer, cascades.choose_temperature(says, grid.scale))
    sure = run(editing.finish(confidence), unseen.inputs).max(axis=1)
    wanted = run(network, unseen.inputs).argmax(axis=1)
    fitted = cascades.fit_threshold(
        sure,
        says.argmax(axis=1) == unseen.labels,
        wanted == unseen.labels,
        most_drop=recipe.cascade.most_drop,
        least_answered=recipe.cascade.least_answered,
        confidence=recipe.cascade.confidence,
    )
    order = np.argsort(-np.bincount(says.argmax(axis=1), minlength=says.shape[1]), kind="stable")
    gate = cascades.add_gate(editing, confidence, fitted.threshold, order)
    selected = cascades.add_select(editing, gate, answer, output, after=after, operators=operators)
    fidelity = held_out(says.argmax(axis=1) == wanted)
    return editing.finish(selected, labels), fitted, fidelity


def _with_golden(bare: Artifact, samples: Split) -> Artifact:
    golden = golden_vectors(bare.load(path="reference"), samples.inputs)
    model = pb.Model.FromString(bare.model)
    model.golden.sha256, model.golden.size_bytes = hashlib.sha256(golden).digest(), len(golden)
    artifact = Artifact(serialise(model), {**bare.blobs, model.golden.sha256: golden})
    check_golden(artifact.load(), golden)
    return artifact


def _text(
    network: Artifact,
    forest: Forest,
    x_NF: Int8,
    target_NC: Float,
    fidelity: Fidelity,
    fitted: CascadeFit | None,
    columns: Sequence[str] | None,
    boundary: Boundary,
) -> str:
    labels: Sequence[str] = network.load().graph.output.labels or [f"class {c}" for c in range(forest.classes)]
    features = columns or [f"feature {number}" for number in range(x_NF.shape[1])]
    rules = describe(forest, x_NF, target_NC, features=features, labels=labels, boundary=boundary)
    heading = f"{forest.rules} rules in {len(forest.trees)} tree(s) follow the network on {fidelity}"
    if fitted is not None:
        heading += f"\nin front of it {fitted}"
    return f"{heading}\n{to_text(rules)}\n"


def _boundary_of(features: Artifact) -> Boundary:
    """In the units of a feature map."""
    grid = features.load().graph.output_activation
    return lambda feature, threshold: (threshold + 0.5 - grid.zero_point) * grid.scale
