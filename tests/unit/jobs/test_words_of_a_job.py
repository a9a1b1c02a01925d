"""What a job may say is what the library can do: each choice of one is a choice of the other."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import get_args, get_type_hints

import pytest

from orchestrator.compression.prune import Importance
from orchestrator.compression.prune.blocks import LEARNING, Budget
from orchestrator.compression.recipe import WEIGHT_BITS, Effort, Scheme
from orchestrator.compression.training.objectives import Objective
from orchestrator.jobs.learning import learning_of
from orchestrator.jobs.orders import learning_after
from orchestrator.spec.job import PruneSpec, QuantizeSpec, StudentSpec
from orchestrator.spec.keys import settings_of, strip_hint


@pytest.mark.parametrize(
    ("section", "key", "choices"),
    [
        (StudentSpec, "objective", Objective),
        (PruneSpec, "importance", Importance),
        (PruneSpec, "objective", Objective),
        (PruneSpec, "block_budget", Budget),
        (QuantizeSpec, "scheme", Scheme),
        (QuantizeSpec, "effort", Effort),
    ],
)
def test_every_choice_of_the_library_can_be_said_in_a_job(section: type, key: str, choices: type[StrEnum]) -> None:
    assert set(get_args(strip_hint(get_type_hints(section)[key]))) == set(choices)


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


def test_what_pruning_broke_is_trained_back_as_the_student_learned_unless_the_pruning_says_otherwise() -> None:
    student = StudentSpec(entrypoint="nets:small", alpha=0.6, temperature=2.0, learning_rate=0.1)
    assert learning_after(PruneSpec(macs_fraction=0.5), student) == student
    own = PruneSpec(
        macs_fraction=0.5, alpha=0.0, temperature=3.0, learning_rate=0.01, batch_size=8, objective="decoupled"
    )
    assert learning_after(own, student) == StudentSpec(
        entrypoint="nets:small", alpha=0.0, temperature=3.0, learning_rate=0.01, batch_size=8, objective="decoupled"
    )


def test_pruning_by_answers_reads_no_labels_afterwards_either_unless_it_is_told_to() -> None:
    student = StudentSpec(entrypoint="nets:small", alpha=0.7)
    without_labels = PruneSpec(macs_fraction=0.5, importance="answers")
    assert learning_after(without_labels, student).alpha == 1.0
    assert learning_after(replace(without_labels, alpha=0.8), student).alpha == 0.8


def test_the_rate_that_a_job_states_for_training_back_after_blocks_is_the_librarys() -> None:
    (rate,) = (setting for setting in settings_of(PruneSpec) if setting.attribute == "learning_rate")
    assert f"{LEARNING.learning_rate} after blocks" in rate.rule.meaning
