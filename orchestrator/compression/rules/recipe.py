"""How rules are made of a network, as versioned data stored with what they became."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from orchestrator.compression.errors import RecipeError
from orchestrator.compression.rules.budget import RuleBudget

RULES_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class CascadeRecipe:
    """Rules answer in front of the network.

    Attributes:
        most_drop: accuracy that may be lost against the network alone, from 0 to 1.
        least_answered: share of the samples that rules must answer for the cascade to be worth having.
        confidence: of the bound on the drop.
    """

    most_drop: float = 0.003
    least_answered: float = 0.5
    confidence: float = 0.95

    def __post_init__(self) -> None:
        for name in ("most_drop", "least_answered"):
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(f"cascade: {name} must be within 0 and 1, found {getattr(self, name)!r}")
        if not 0.5 <= self.confidence < 1:
            raise RecipeError(f"cascade: confidence must be at least 0.5 and below 1, found {self.confidence!r}")


@dataclass(frozen=True, kw_only=True)
class RulesRecipe:
    """Attributes:
    budget: how many rules, and how they are found.
    features: "input", or the operator of the network whose output they read.
    pool: average that map down to `pool` x `pool`; 0 reads it as it is.
    fidelity_floor: least share of held-out samples on which rules without a network behind them must say what it says.
    folds, repeats: of the cross-validation behind that.
    samples: of the train split that are looked at, from its start.
    threshold_samples: further ones that prove a cascade's threshold, beside the calibrate split.
    cascade: rules in front of the network; without one they replace it.
    version: of this dataclass's meaning.
    """

    budget: RuleBudget = field(default_factory=RuleBudget)
    features: str = "input"
    pool: int = 0
    fidelity_floor: float = 0.95
    folds: int = 5
    repeats: int = 3
    samples: int = 10_000
    threshold_samples: int = 20_000
    cascade: CascadeRecipe | None = None
    version: int = RULES_VERSION

    def __post_init__(self) -> None:
        if self.version != RULES_VERSION:
            raise RecipeError(f"rules version {self.version} is not known; this release reads {RULES_VERSION}")
        if not 0 <= self.fidelity_floor <= 1:
            raise RecipeError(f"rules: fidelity_floor must be within 0 and 1, found {self.fidelity_floor!r}")
        if (
            self.folds < 2
            or self.repeats < 1
            or self.samples < self.folds
            or min(self.pool, self.threshold_samples) < 0
        ):
            raise RecipeError("rules: at least 2 folds, 1 repeat, as many samples as folds, nothing negative")

    def to_json(self) -> str:
        """The same recipe always gives the same text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> RulesRecipe:
        try:
            values: Any = json.loads(text)
            if values.get("cascade") is not None:
                values["cascade"] = _read(CascadeRecipe, values["cascade"])
            values["budget"] = _read(RuleBudget, values.get("budget", {}))
            recipe: RulesRecipe = _read(cls, values)
            return recipe
        except (ValueError, AttributeError, TypeError, RecursionError) as error:
            raise RecipeError(f"a rules recipe is a JSON object with known fields: {error}") from error


def _read(kind: Any, values: dict[str, Any]) -> Any:
    unknown = values.keys() - {field.name for field in fields(kind)}
    if unknown:
        raise RecipeError(f"unknown rules field(s): {', '.join(sorted(unknown))}")
    return kind(**values)
