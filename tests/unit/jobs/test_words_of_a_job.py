"""What a job may say is what the library can do: each choice of one is a choice of the other."""

from __future__ import annotations

from enum import StrEnum
from typing import get_args, get_type_hints

import pytest

from orchestrator.compression.prune import Importance
from orchestrator.compression.prune.blocks import Budget
from orchestrator.compression.recipe import WEIGHT_BITS, Effort, Scheme
from orchestrator.compression.training.objectives import Objective
from orchestrator.jobs.learning import learning_of
from orchestrator.spec.job import PruneSpec, QuantizeSpec, StudentSpec


@pytest.mark.parametrize(
    ("section", "key", "choices"),
    [
        (StudentSpec, "objective", Objective),
        (PruneSpec, "importance", Importance),
        (PruneSpec, "block_budget", Budget),
        (QuantizeSpec, "scheme", Scheme),
        (QuantizeSpec, "effort", Effort),
    ],
)
def test_every_choice_of_the_library_can_be_said_in_a_job(section: type, key: str, choices: type[StrEnum]) -> None:
    assert set(get_args(get_type_hints(section)[key])) == set(choices)


def test_every_number_of_bits_can_be_said_in_a_job() -> None:
    assert get_args(get_type_hints(QuantizeSpec)["weight_bits"]) == WEIGHT_BITS


@pytest.mark.parametrize("objective", Objective)
def test_a_student_learns_as_the_job_says(objective: Objective) -> None:
    spec = StudentSpec(entrypoint="nets:small", objective=objective.value, alpha=1.0, mirror=False, batch_size=32)
    learning = learning_of(spec, epochs=2, seed=7, returned=None)
    assert learning is not None
    assert (learning.objective, learning.alpha, learning.views.mirror) == (objective, 1.0, False)
    assert (learning.epochs, learning.batch_size, learning.seed) == (2, 32, 7)
    assert learning_of(spec, epochs=0, seed=7, returned=None) is None


def test_samples_with_labels_are_learned_by_kd_where_the_objective_would_not_read_them() -> None:
    returned = object()  # whatever came back
    spec = StudentSpec(entrypoint="nets:small", objective="function-matching")
    learning = learning_of(spec, epochs=1, seed=0, returned=returned)  # type: ignore[arg-type]
    assert learning is not None
    assert learning.objective is Objective.KD
