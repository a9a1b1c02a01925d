"""How a model was made, as a job records it: its recipe, the checkpoint that was quantized, and what computed each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from orchestrator.compression.errors import RecipeError
from orchestrator.compression.recipe import Recipe
from orchestrator.compression.rules.recipe import RulesRecipe
from orchestrator.jobs.orders import (
    CHECKPOINT,
    MADE_ON,
    RECIPE,
    RULES_RECIPE,
    CandidateOrder,
    StudentOrder,
    learning_after,
)
from orchestrator.jobs.stages import StageOutput, canonical_json
from orchestrator.spec import PruneSpec, SpecError, StudentSpec, TeacherSpec, from_plain, to_plain

MODEL_RECIPE_VERSION = 1
_SECTIONS = {"teacher": TeacherSpec, "student": StudentSpec, "prune": PruneSpec, "learning": StudentSpec}


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """What a job did to make one model, as versioned data; the checkpoints that it was done to are the lineage's.

    Attributes:
        seed: of everything random in the job.
        data: digest of the job's data, as in the certificate.
        working_dir: digest of the code that entrypoints are of.
        teacher: None in a text of version 0.
        student: how it was distilled; None where it was there, as the teacher itself or as an earlier job's.
        start: checkpoint (hex) that the student's weights began with; empty for random ones.
        prune: what was pruned before quantization.
        learning: how what pruning broke was trained back, for the epochs that `prune` names.
        quantize: with the bits that a budget gave each layer.
        rules: in place of the network, or in front of it.
        version: of this dataclass's meaning. Texts from before there was one tell of `quantize` and `rules` alone and
            are read as version 0.
    """

    seed: int = 0
    data: str = ""
    working_dir: str = ""
    teacher: TeacherSpec | None = None
    student: StudentSpec | None = None
    start: str = ""
    prune: PruneSpec | None = None
    learning: StudentSpec | None = None
    quantize: Recipe
    rules: RulesRecipe | None = None
    version: int = MODEL_RECIPE_VERSION

    def to_json(self) -> str:
        """The same recipe always gives the same text; sections are as in a job's document, every default written."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        values |= {name: values[name] and to_plain(values[name], complete=True) for name in _SECTIONS}
        values |= {name: values[name] and json.loads(values[name].to_json()) for name in ("quantize", "rules")}
        return canonical_json(values).decode()

    @classmethod
    def from_json(cls, text: str) -> ModelRecipe:
        """Read a recipe of this version or of version 0.

        Raises:
            RecipeError: the text is malformed, has unknown fields, or is of a version that this code does not know.
        """
        try:
            values = _versioned(json.loads(text))
            unknown = values.keys() - {entry.name for entry in fields(cls)}
            if unknown:
                raise RecipeError(f"unknown field(s) of a model's recipe: {', '.join(sorted(unknown))}")
            for name, section in _SECTIONS.items():
                if values.get(name) is not None:
                    values[name] = from_plain(values[name], section, name)
            values["quantize"] = Recipe.from_json(json.dumps(values["quantize"]))
            if values.get("rules") is not None:
                values["rules"] = RulesRecipe.from_json(json.dumps(values["rules"]))
            return cls(**values)
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError, SpecError) as error:
            raise RecipeError(f"a model's recipe is a JSON object with known fields: {error}") from error


def _versioned(values: dict[str, Any]) -> dict[str, Any]:
    if "network" in values:  # beside `rules`, where a model had some
        return {"version": 0, **{"quantize" if name == "network" else name: value for name, value in values.items()}}
    if "quantize" not in values:
        return {"version": 0, "quantize": values}
    if values.get("version") not in (0, MODEL_RECIPE_VERSION):
        raise RecipeError(f"version {values.get('version')} of a model's recipe is not known")
    return dict(values)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How one model was made.

    Attributes:
        network: checkpoint (hex) that was quantized: the student, or what pruning left of it; empty where the stage of
            an earlier release did not tell.
        made_on: by stage, as `TaskContext.made_on` gives it, for each that tells.
    """

    recipe: ModelRecipe
    network: str = ""
    made_on: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def provenance_of(
    order: CandidateOrder,
    output: StageOutput,
    *,
    teacher: TeacherSpec,
    student: StudentOrder | None,
    data: str,
    working_dir: str,
) -> Provenance:
    """Of the candidate that `output` is; `student` is how the job distilled the network behind it, if it did."""
    prunes_itself = order.spec.prune is not None
    prune = order.spec.prune or order.network.prune
    rules = output.metrics.get(RULES_RECIPE)
    recipe = ModelRecipe(
        seed=order.seed,
        data=data,
        working_dir=working_dir,
        teacher=teacher,
        student=student.spec if student else None,
        start=student.start if student else "",
        prune=prune,
        learning=learning_after(prune, order.learning) if prune else None,
        quantize=Recipe.from_json(output.metrics[RECIPE]),
        rules=RulesRecipe.from_json(rules) if rules else None,
    )
    network = order.network.checkpoint
    if prunes_itself:
        network = output.blobs[CHECKPOINT].digest if CHECKPOINT in output.blobs else ""
    quantized_on = output.metrics.get(MADE_ON)
    made_on = {
        "teacher": order.teacher.made_on,
        "student": order.fp32.made_on,
        "prune": quantized_on if prunes_itself else order.network.made_on if prune else None,
        "quantize": quantized_on,
    }
    return Provenance(recipe=recipe, network=network, made_on={stage: on for stage, on in made_on.items() if on})
