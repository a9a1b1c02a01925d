from __future__ import annotations

import pytest

from orchestrator.compression.errors import RecipeError
from orchestrator.compression.recipe import Effort, QuantizedTraining, Recipe, Rounding, Scheme


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe(scheme=Scheme.POWER_OF_TWO, weight_bits=3, correct_bias=False),
        Recipe(mean_bits=3.5, layer_bits=(("stem", 8), ("head", 3)), effort=Effort.HIGH),
        Recipe(weight_bits=2, training=QuantizedTraining(epochs=3, alpha=1.0)),
    ],
)
def test_a_recipe_survives_json_and_always_writes_the_same_text(recipe: Recipe) -> None:
    text = recipe.to_json()
    assert Recipe.from_json(text) == recipe
    assert Recipe.from_json(text).to_json() == text


def test_automatic_rounding_compensates_below_eight_bits() -> None:
    assert not Recipe().compensates(8)
    assert Recipe().compensates(4)
    assert not Recipe(rounding=Rounding.NEAREST).compensates(4)


def test_a_recipe_of_the_first_version_is_read_as_what_it_meant() -> None:
    old = (
        '{"calibration_count":512,"correct_bias":true,"rounding":"auto","scheme":"integer","version":1,"weight_bits":4}'
    )
    assert Recipe.from_json(old) == Recipe(weight_bits=4, equalize=False)


def test_bits_of_a_layer_are_its_own_or_those_of_all() -> None:
    recipe = Recipe(weight_bits=4, layer_bits={"stem": 8})  # type: ignore[arg-type]  # a mapping is taken too
    assert (recipe.bits_of("stem"), recipe.bits_of("body")) == (8, 4)
    assert recipe == Recipe(weight_bits=4, layer_bits=(("stem", 8),))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "JSON object"),
        ("[" * 100_000, "JSON object"),
        ("[1]", "found list"),
        ('{"weight_bits": 5}', "weight_bits"),
        ('{"weight_bits": true}', "weight_bits"),
        ('{"weight_bits": [8]}', "weight_bits"),
        ('{"scheme": "float"}', "float"),
        ('{"scheme": []}', "recipe"),
        ('{"version": 3}', "version 3"),
        ('{"version": true}', "version True"),
        ('{"layer_bits": [["a", 5]]}', "layer_bits of 'a'"),
        ('{"layer_bits": [["a", 4], ["a", 8]]}', "twice"),
        ('{"layer_bits": 3}', "pairs"),
        ('{"mean_bits": 1.5}', "within 2..8"),
        ('{"mean_bits": NaN}', "within 2..8"),
        ('{"mean_bits": 4, "weight_bytes": 100}', "not both"),
        ('{"weight_bytes": 0}', "weight_bytes"),
        ('{"effort": "heroic"}', "heroic"),
        ('{"training": true}', "training is a JSON object"),
        ('{"training": {"epochs": 0}}', "training.epochs"),
        ('{"training": {"alpha": 1.5}}', "training.alpha"),
        ('{"training": {"learning_rate": Infinity}}', "learning_rate"),
        ('{"training": {"steps": 3}}', "unknown training field"),
        ('{"calibration_count": 0}', "calibration_count"),
        ('{"correct_bias": 1}', "correct_bias"),
        ('{"bits": 8}', "unknown recipe field"),
    ],
)
def test_malformed_recipes_are_refused(text: str, why: str) -> None:
    with pytest.raises(RecipeError, match=why):
        Recipe.from_json(text)
