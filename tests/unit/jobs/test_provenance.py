"""What is stored with a model says all that was done to make it, and on what."""

from __future__ import annotations

import json
import platform
from dataclasses import replace

import pytest

from edge_agent import __version__
from orchestrator.compression.errors import RecipeError
from orchestrator.compression.recipe import Recipe
from orchestrator.compression.rules.recipe import CascadeRecipe, RulesRecipe
from orchestrator.jobs.code_version import lineage_versions
from orchestrator.jobs.orders import CHECKPOINT, MADE_ON, RECIPE, RULES_RECIPE, CandidateOrder, NetworkRef, StudentOrder
from orchestrator.jobs.provenance import ModelRecipe, Provenance, provenance_of
from orchestrator.jobs.stages import Blob, StageInputs, StageOutput
from orchestrator.spec import CandidateSpec, PruneSpec, StudentSpec, TeacherSpec

HALF = PruneSpec(macs_fraction=0.5, importance="answers", epochs=2)
LEARNING = StudentSpec(entrypoint="net:student", temperature=2.0, learning_rate=1e-5)
CHOSEN = Recipe(mean_bits=3.5, layer_bits=(("stem", 8),))
TEACHER_CPU, STUDENT_CPU, PRUNING_CPU, CPU = ({"cpu_model": name, "threads": 1, "versions": {}} for name in "tspq")

TEACHER = NetworkRef(entrypoint="net:teacher", checkpoint="aa" * 32, made_on=TEACHER_CPU)
STUDENT = NetworkRef(entrypoint="net:student", checkpoint="bb" * 32, made_on=STUDENT_CPU)
NARROWER = NetworkRef(entrypoint="net:student", checkpoint="cc" * 32, prune=HALF, made_on=PRUNING_CPU)


def of(network: NetworkRef, prune: PruneSpec | None = None, **figures: str) -> Provenance:
    """How a candidate is recorded; its own stage left the checkpoint `dd...` where it pruned."""
    order = CandidateOrder(
        spec=CandidateSpec(name="small", prune=prune),
        network=network,
        fp32=STUDENT,
        inputs=StageInputs(name="candidate", code="", versions={}),
        teacher=TEACHER,
        learning=LEARNING,
        model_name="camera",
        seed=7,
    )
    blobs = {CHECKPOINT: Blob("dd" * 32, 1)} if prune else {}
    output = StageOutput(blobs=blobs, metrics={RECIPE: CHOSEN.to_json(), MADE_ON: CPU, **figures})
    student = StudentOrder(spec=LEARNING, teacher=TEACHER, start="", epochs=3, seed=7)
    teacher = TeacherSpec(entrypoint="net:teacher")
    return provenance_of(order, output, teacher=teacher, student=student, data="ee" * 32, working_dir="ff" * 32)


def test_a_pruned_network_that_a_search_quantizes_is_named_with_the_share_it_keeps() -> None:
    made = of(NARROWER)
    assert made.network == NARROWER.checkpoint
    assert made.recipe.prune == HALF
    assert made.recipe.learning == replace(LEARNING, alpha=1.0)  # `HALF` reads no labels
    assert made.made_on == {"teacher": TEACHER_CPU, "student": STUDENT_CPU, "prune": PRUNING_CPU, "quantize": CPU}


def test_a_candidate_that_prunes_itself_names_what_it_quantized_and_differs_from_one_that_does_not() -> None:
    pruned, whole = of(STUDENT, HALF), of(STUDENT)
    assert (pruned.network, whole.network) == ("dd" * 32, STUDENT.checkpoint)
    assert pruned.made_on["prune"] == CPU
    assert "prune" not in whole.made_on
    assert whole.recipe.learning is None
    assert pruned.recipe.to_json() != whole.recipe.to_json()
    assert pruned.recipe.to_json() == of(NARROWER).recipe.to_json()  # however it came about


def test_a_recipe_survives_json_and_always_writes_the_same_text() -> None:
    rules = RulesRecipe(cascade=CascadeRecipe(most_drop=0.01))
    recipe = of(NARROWER, **{RULES_RECIPE: rules.to_json()}).recipe
    assert ModelRecipe.from_json(recipe.to_json()) == recipe
    assert (recipe.quantize, recipe.rules, recipe.seed) == (CHOSEN, rules, 7)
    written = json.loads(recipe.to_json())
    assert written["prune"] == {"macsFraction": 0.5, "blockBudget": "blocks", "importance": "answers", "epochs": 2}


def test_texts_from_before_tell_of_quantization_and_rules_alone() -> None:
    rules = RulesRecipe(pool=3)
    network, beside = CHOSEN.to_json(), f'{{"network":{CHOSEN.to_json()},"rules":{rules.to_json()}}}'
    assert ModelRecipe.from_json(network) == ModelRecipe(quantize=CHOSEN, version=0)
    assert ModelRecipe.from_json(beside) == ModelRecipe(quantize=CHOSEN, rules=rules, version=0)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"polish": 1}, "polish"),
        ({"version": 2}, "version 2"),
        ({"prune": {"macsFraction": 0.5, "polish": 1}}, "polish"),
        ({"prune": {"macsFraction": 1.5}}, "macsFraction"),
        ({"teacher": [1]}, "teacher"),
        ({"quantize": {"polish": 1}}, "polish"),
        ({"rules": {"polish": 1}}, "polish"),
        ({"quantize": None}, "NoneType"),
    ],
)
def test_what_is_not_known_is_refused(change: dict[str, object], why: str) -> None:
    values = json.loads(of(STUDENT).recipe.to_json())
    with pytest.raises(RecipeError, match=why):
        ModelRecipe.from_json(json.dumps(values | change))


@pytest.mark.parametrize("text", ["", "3", "[1]", '{"network": {}, "polish": 1}', "[" * 100_000])
def test_what_is_no_recipe_is_refused(text: str) -> None:
    with pytest.raises(RecipeError):
        ModelRecipe.from_json(text)


def test_versions_in_a_lineage_are_espaliers_own_too_and_pythons_to_the_patch() -> None:
    versions = lineage_versions()
    assert (versions["espalier"], versions["python"]) == (__version__, platform.python_version())
    assert {"torch", "numpy", "protobuf"} <= versions.keys()
