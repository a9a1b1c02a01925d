"""A recipe: how a network was turned into a compressed model, as versioned data stored with what it made.

Plain Python, no torch: whoever stores or shows a recipe need not load a network.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from orchestrator.compression.errors import RecipeError

RECIPE_VERSION = 2
READ_VERSIONS = (1, 2)
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


class Effort(StrEnum):
    """How much time quantization without training may take."""

    NORMAL = "normal"
    HIGH = "high"  # AdaRound for the layers whose rounding error stays large


@dataclass(frozen=True, kw_only=True)
class QuantizedTraining:
    """Training with fake quantization under the float network as teacher.

    Attributes:
        epochs: passes over the train split; batch norm stays live for the first part of them.
        learning_rate: peak of the schedule, of the weights; steps and offsets of grids learn at a share of it.
        temperature, alpha: of the distillation loss, see `training.distillation`; alpha 1 needs no labels.
    """

    epochs: int = 6
    batch_size: int = 128
    learning_rate: float = 0.002
    temperature: float = 4.0
    alpha: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 2), ("seed", 0)):
            value = getattr(self, name)
            if not _is_int(value) or value < least:
                raise RecipeError(f"training.{name} must be an integer of at least {least}, found {value!r}")
        for name in ("learning_rate", "temperature"):
            if not _is_positive(getattr(self, name)):
                raise RecipeError(f"training.{name} must be finite and positive, found {getattr(self, name)!r}")
        if not (self.alpha == 0 or _is_positive(self.alpha)) or self.alpha > 1:
            raise RecipeError(f"training.alpha must be within 0..1, found {self.alpha!r}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to quantize.

    Attributes:
        scheme: which scales are allowed.
        weight_bits: 8, 6, 4, 3 or 2; activations always have 8.
        layer_bits: operator name (the user's module path) and bits, for layers that differ from `weight_bits`.
        mean_bits, weight_bytes: budgets for mixed bits, at most one of them: bits per weight on average, or bytes of
            all packed weights. `layer_bits` is then chosen by sensitivity; what was chosen stands in the stored recipe.
        rounding: see `Rounding`.
        effort: see `Effort`.
        correct_bias: make the mean of every output channel what it was before rounding.
        equalize: rescale channels between layers first, so that each uses the grid that all share.
        calibration_count: samples of the calibrate split that are looked at, from its start.
        training: train with fake quantization before the grids are fixed; None is quantization without training.
        version: of this dataclass's meaning.
    """

    scheme: Scheme = Scheme.INTEGER
    weight_bits: int = 8
    layer_bits: tuple[tuple[str, int], ...] = ()
    mean_bits: float | None = None
    weight_bytes: int | None = None
    rounding: Rounding = Rounding.AUTO
    effort: Effort = Effort.NORMAL
    correct_bias: bool = True
    equalize: bool = True
    calibration_count: int = 512
    training: QuantizedTraining | None = None
    version: int = RECIPE_VERSION

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "scheme", Scheme(self.scheme))
            object.__setattr__(self, "rounding", Rounding(self.rounding))
            object.__setattr__(self, "effort", Effort(self.effort))
        except ValueError as error:
            raise RecipeError(f"recipe: {error}") from error
        if not _is_int(self.version) or self.version != RECIPE_VERSION:
            raise RecipeError(f"recipe version {self.version} is not known; this release reads {READ_VERSIONS}")
        if not _is_int(self.weight_bits) or self.weight_bits not in WEIGHT_BITS:
            raise RecipeError(f"weight_bits must be one of {WEIGHT_BITS}, found {self.weight_bits!r}")
        if not _is_int(self.calibration_count) or self.calibration_count < 1:
            raise RecipeError(f"calibration_count must be at least 1, found {self.calibration_count!r}")
        for name in ("correct_bias", "equalize"):
            if not isinstance(getattr(self, name), bool):
                raise RecipeError(f"{name} must be true or false, found {getattr(self, name)!r}")
        if not (self.training is None or isinstance(self.training, QuantizedTraining)):
            raise RecipeError(f"training must be a section of its own, found {self.training!r}")
        object.__setattr__(self, "layer_bits", _layer_bits(self.layer_bits))
        self._check_budget()

    def _check_budget(self) -> None:
        low, high = min(WEIGHT_BITS), max(WEIGHT_BITS)
        if self.mean_bits is not None and not (_is_positive(self.mean_bits) and low <= self.mean_bits <= high):
            raise RecipeError(f"mean_bits must be within {low}..{high}, found {self.mean_bits!r}")
        if self.weight_bytes is not None and not (_is_int(self.weight_bytes) and self.weight_bytes >= 1):
            raise RecipeError(f"weight_bytes must be at least 1, found {self.weight_bytes!r}")
        if self.mean_bits is not None and self.weight_bytes is not None:
            raise RecipeError("give mean_bits or weight_bytes, not both")

    @property
    def is_mixed(self) -> bool:
        """Whether layers are given bits by a budget."""
        return self.mean_bits is not None or self.weight_bytes is not None

    def bits_of(self, operator: str) -> int:
        """Bits of the weights of one operator."""
        return dict(self.layer_bits).get(operator, self.weight_bits)

    def compensates(self, bits: int) -> bool:
        """Whether rounding errors are compensated at `bits` (`Rounding.AUTO` resolved)."""
        if self.rounding is Rounding.AUTO:
            return bits < 8
        return self.rounding is Rounding.COMPENSATED

    def to_json(self) -> str:
        """The same recipe always gives the same text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read a recipe of any version in `READ_VERSIONS`; what it becomes is of the newest.

        Raises:
            RecipeError: the text is malformed, or of a version that this code does not know.
        """
        try:
            values: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RecipeError(f"a recipe is a JSON object: {error}") from error
        known = _checked(values, cls, "recipe")
        if _is_int(known.get("version")) and known["version"] in READ_VERSIONS:
            if known["version"] == 1:
                known.setdefault("equalize", False)  # version 1 began without
            known["version"] = RECIPE_VERSION
        if known.get("training") is not None:
            known["training"] = QuantizedTraining(**_checked(known["training"], QuantizedTraining, "training"))
        return cls(**known)


def _checked(values: Any, cls: type, what: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise RecipeError(f"a {what} is a JSON object, found {type(values).__name__}")
    unknown = values.keys() - {field.name for field in fields(cls)}
    if unknown:
        raise RecipeError(f"unknown {what} field(s): {', '.join(sorted(unknown))}")
    return dict(values)


def _layer_bits(value: Any) -> tuple[tuple[str, int], ...]:
    """Sorted, so that equal choices are equal recipes; a mapping is taken too."""
    try:
        pairs = sorted((str(name), bits) for name, bits in (value.items() if isinstance(value, Mapping) else value))
    except (TypeError, ValueError) as error:
        raise RecipeError(f"layer_bits are pairs of a name and bits, found {value!r}") from error
    for name, bits in pairs:
        if not _is_int(bits) or bits not in WEIGHT_BITS:
            raise RecipeError(f"layer_bits of {name!r} must be one of {WEIGHT_BITS}, found {bits!r}")
    if len({name for name, _ in pairs}) != len(pairs):
        raise RecipeError("layer_bits name a layer twice")
    return tuple(pairs)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
