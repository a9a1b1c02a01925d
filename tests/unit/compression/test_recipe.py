from __future__ import annotations

import pytest

from orchestrator.compression.errors import RecipeError
from orchestrator.compression.recipe import Recipe, Rounding, Scheme


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(scheme=Scheme.POWER_OF_TWO, weight_bits=3, correct_bias=False)])
def test_a_recipe_survives_json_and_always_writes_the_same_text(recipe: Recipe) -> None:
    text = recipe.to_json()
    assert Recipe.from_json(text) == recipe
    assert Recipe.from_json(text).to_json() == text


def test_automatic_rounding_compensates_below_eight_bits() -> None:
    assert not Recipe(weight_bits=8).compensates
    assert Recipe(weight_bits=4).compensates
    assert not Recipe(weight_bits=4, rounding=Rounding.NEAREST).compensates


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
        ('{"version": 2}', "version 2"),
        ('{"calibration_count": 0}', "calibration_count"),
        ('{"correct_bias": 1}', "correct_bias"),
        ('{"bits": 8}', "unknown recipe field"),
    ],
)
def test_malformed_recipes_are_refused(text: str, why: str) -> None:
    with pytest.raises(RecipeError, match=why):
        Recipe.from_json(text)
