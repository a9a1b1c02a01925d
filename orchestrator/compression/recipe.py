"""A recipe: how a network was turned into a compressed model, as versioned data stored with what it made.

Plain Python, no torch: whoever stores or shows a recipe need not load a network.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from orchestrator.compression.errors import RecipeError

RECIPE_VERSION = 1
WEIGHT_BITS = (8, 6, 4, 3, 2)


class Scheme(StrEnum):
    """Which scales a grid may have."""

    INTEGER = "integer"  # any real scale; requantize by one float32 multiplication
    POWER_OF_TWO = "power-of-two"  # scales 2^e only; requantize by a shift


class Rounding(StrEnum):
    """How weights are put on their grid."""

    AUTO = "auto"  # nearest at 8 bits, error compensating below
    NEAREST = "nearest"
    COMPENSATED = "compensated"  # GPTQ: each rounding error is made good by the weights that are not rounded yet


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to quantize.

    Attributes:
        scheme: which scales are allowed.
        weight_bits: 8, 6, 4, 3 or 2; activations always have 8.
        rounding: see `Rounding`.
        correct_bias: make the mean of every output channel what it was before rounding.
        equalize: rescale channels between layers first, so that each uses the grid that all share.
        calibration_count: samples of the calibrate split that are looked at, from its start.
        version: of this dataclass's meaning.
    """

    scheme: Scheme = Scheme.INTEGER
    weight_bits: int = 8
    rounding: Rounding = Rounding.AUTO
    correct_bias: bool = True
    equalize: bool = True
    calibration_count: int = 512
    version: int = RECIPE_VERSION

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "scheme", Scheme(self.scheme))
            object.__setattr__(self, "rounding", Rounding(self.rounding))
        except ValueError as error:
            raise RecipeError(f"recipe: {error}") from error
        if self.version != RECIPE_VERSION:
            raise RecipeError(f"recipe version {self.version} is not known; this release reads {RECIPE_VERSION}")
        if not _is_int(self.weight_bits) or self.weight_bits not in WEIGHT_BITS:
            raise RecipeError(f"weight_bits must be one of {WEIGHT_BITS}, found {self.weight_bits!r}")
        if not _is_int(self.calibration_count) or self.calibration_count < 1:
            raise RecipeError(f"calibration_count must be at least 1, found {self.calibration_count!r}")
        for name in ("correct_bias", "equalize"):
            if not isinstance(getattr(self, name), bool):
                raise RecipeError(f"{name} must be true or false, found {getattr(self, name)!r}")

    @property
    def compensates(self) -> bool:
        """Whether rounding errors are compensated (`Rounding.AUTO` resolved)."""
        if self.rounding is Rounding.AUTO:
            return self.weight_bits < 8
        return self.rounding is Rounding.COMPENSATED

    def to_json(self) -> str:
        """The same recipe always gives the same text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        try:
            values: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RecipeError(f"a recipe is a JSON object: {error}") from error
        if not isinstance(values, dict):
            raise RecipeError(f"a recipe is a JSON object, found {type(values).__name__}")
        unknown = values.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise RecipeError(f"unknown recipe field(s): {', '.join(sorted(unknown))}")
        return cls(**values)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
