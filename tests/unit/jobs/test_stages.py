"""Keys of stages, and that an identical stage is not run twice."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.jobs.conclusion import certificate_inputs
from orchestrator.jobs.progress import ProgressPlan
from orchestrator.jobs.stage_runner import StageRunner
from orchestrator.jobs.stages import Blob, StageInputs, StageOutput, StageRecord, canonical_json, run_stage

INPUTS = StageInputs(
    name="student",
    code="c0",
    versions={"torch": "2.13"},
    data="d0",
    seed=7,
    parameters={"epochs": 3, "alpha": 0.7},
    inputs={"teacher": "aa"},
)


class DictStore:
    def __init__(self) -> None:
        self.records: dict[str, StageRecord] = {}

    def get_stage(self, key: str) -> StageRecord | None:
        return self.records.get(key)

    def put_stage(self, record: StageRecord) -> StageRecord:
        return self.records.setdefault(record.key, record)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "prune"},
        {"code": "c1"},
        {"versions": {"torch": "2.14"}},
        {"data": "d1"},
        {"seed": 8},
        {"parameters": {"epochs": 4, "alpha": 0.7}},
        {"inputs": {"teacher": "ab"}},
        {"inputs": {"student": "aa"}},
    ],
)
def test_whatever_changes_the_output_changes_the_key(change: dict[str, Any]) -> None:
    assert dataclasses.replace(INPUTS, **change).key() != INPUTS.key()


def test_the_order_of_parameters_does_not_change_the_key() -> None:
    assert dataclasses.replace(INPUTS, parameters={"alpha": 0.7, "epochs": 3}).key() == INPUTS.key()


def test_the_key_is_the_same_in_every_process() -> None:
    """A change of this value means that every cached stage is run again: raise KEY_VERSION knowingly."""
    assert INPUTS.key() == "74293ff83f8d1ab35cea9619e1d81c3e2e7abc6a3cc99aae6b47ac8564b90e35"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, b"bytes"])
def test_a_key_is_made_of_plain_finite_data_only(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        canonical_json({"parameter": value})


def test_a_stage_runs_once_and_then_answers_from_the_store() -> None:
    store, runs = DictStore(), []

    def run() -> StageOutput:
        runs.append(1)
        return StageOutput(blobs={"checkpoint": Blob("ff", 2)}, metrics={"accuracy": 0.5})

    first = run_stage(store, INPUTS, run)
    second = run_stage(store, INPUTS, run)
    assert first == second
    assert runs == [1]


def test_a_stage_that_fails_leaves_no_record() -> None:
    store = DictStore()

    def fail() -> StageOutput:
        raise RuntimeError("no such luck")

    with pytest.raises(RuntimeError, match="no such luck"):
        run_stage(store, INPUTS, fail)
    assert store.records == {}


def test_when_two_run_a_stage_at_once_both_answer_with_the_record_that_came_first() -> None:
    store = DictStore()

    def run_while_another_finishes() -> StageOutput:
        run_stage(store, INPUTS, lambda: StageOutput(metrics={"by": "other"}))
        return StageOutput(metrics={"by": "me"})

    assert run_stage(store, INPUTS, run_while_another_finishes).metrics == {"by": "other"}


def test_a_certificate_is_of_a_model_a_teacher_and_a_split_whatever_code_asks_for_it() -> None:
    asked = certificate_inputs("m", teacher="t", certify="c")
    assert (asked.code, asked.versions) == ("", {})
    others = [
        certificate_inputs("n", teacher="t", certify="c"),
        certificate_inputs("m", teacher="u", certify="c"),
        certificate_inputs("m", teacher="t", certify="d"),
    ]
    assert len({inputs.key() for inputs in [asked, *others]}) == 4


class SilentReporters:
    """The part of a Ray runner that running a stage needs."""

    def reporter(self, stage: str) -> Callable[..., None]:
        return lambda *words: None


def test_of_two_threads_that_want_a_stage_one_runs_it_and_both_get_its_output() -> None:
    runner = StageRunner(DictStore(), SilentReporters(), ProgressPlan({}), code="c0", seed=7)  # type: ignore[arg-type]
    second_runs = threading.Event()
    found: list[StageOutput] = []
    output = StageOutput(metrics={"accuracy": 0.9})

    def run_second() -> StageOutput:
        second_runs.set()
        return output

    second = threading.Thread(target=lambda: found.append(runner.run("prune", INPUTS, run_second)))

    def run_first() -> StageOutput:
        second.start()
        assert not second_runs.wait(timeout=0.3)
        return output

    assert runner.run("prune", INPUTS, run_first) == output
    second.join()
    assert found == [output]
    assert not second_runs.is_set()
