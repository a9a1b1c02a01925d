"""Rows that were measured are kept whole, with the models they made, and only for runs that would measure the same."""

from __future__ import annotations

import hashlib
import inspect
import random
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from compression_peers import session, teachers
from compression_peers.archive import Archive, Measured
from compression_peers.bench import Bench, Published
from compression_peers.results import Figure, Outcome, Results
from compression_peers.row import Row
from compression_peers.rows import ROWS
from runtime_peers.environments import tree_digest

from orchestrator.compression.artifact import Artifact
from orchestrator.compression.certificate import compare_paired

OUTCOME = Outcome(
    row=3,
    network="resnet8",
    seed=1,
    method="ours",
    correct=np.arange(100) % 3 > 0,
    corrupted={"contrast(0.5)": 0.5},
    size_bytes=1234,
    seconds=5.5,
)
FAILED = Outcome(row=3, network="resnet8", seed=1, method="peer", error="not installed")
FIGURE = Figure(row=3, label="share", value=float("nan"), unit="%")
PUBLISHED = Published(
    title="row 3, resnet8",
    artifact=Artifact(model=b"model", blobs={hashlib.sha256(b"weights").digest(): b"weights"}),
    correct=OUTCOME.correct,
    certificate=compare_paired(OUTCOME.correct, ~OUTCOME.correct),
)
MEASURED = Measured(at="yesterday", results=[OUTCOME, FAILED, FIGURE], published=[PUBLISHED])


def run(archive: Archive, row: Row, *, resume: bool) -> Results:
    plan = session.Plan(quick=False, rows=(row,), networks=(), seeds=(), peers=())
    return session.run(plan, lambda message: None, archive=archive, resume=resume, after_row=lambda results: None)


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teachers, "load_data", lambda: None)


def counting(calls: list[int], *, of_others: bool = False) -> Row:
    """A row that notes how often it is measured."""

    def measure(bench: Bench) -> Iterator[Figure]:
        calls.append(1)
        yield Figure(row=5, label="calls", value=len(calls))

    return Row(number=5, title="t", target="t", of_others=of_others, run=measure, judge=lambda results, networks: [])


def test_a_row_comes_back_as_it_was_measured(tmp_path: Path) -> None:
    Archive(tmp_path).save(ROWS[3], MEASURED)
    found = Archive(tmp_path).load(ROWS[3])
    assert found is not None
    outcome, failed, figure = found.results
    assert isinstance(outcome, Outcome)
    assert np.array_equal(outcome.correct, OUTCOME.correct)
    assert (outcome.corrupted, outcome.size_bytes, outcome.seconds) == ({"contrast(0.5)": 0.5}, 1234, 5.5)
    assert isinstance(failed, Outcome)
    assert failed.error == "not installed"
    assert isinstance(figure, Figure)
    assert np.isnan(figure.value)
    (published,) = found.published
    assert published.artifact.model == b"model"
    assert published.artifact.blobs == PUBLISHED.artifact.blobs
    assert published.certificate == PUBLISHED.certificate


def test_damaged_files_are_measured_again(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.save(ROWS[3], MEASURED)
    (file,) = tmp_path.iterdir()
    whole, rng = file.read_bytes(), random.Random(0)
    for _ in range(200):
        at = rng.randrange(len(whole))
        file.write_bytes(whole[:at])
        assert archive.load(ROWS[3]) is None
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :])
        assert archive.load(ROWS[3]) is None


def test_only_a_run_that_resumes_takes_rows_of_earlier_ones(tmp_path: Path) -> None:
    calls: list[int] = []
    row = counting(calls)
    run(Archive(tmp_path), row, resume=False)
    assert run(Archive(tmp_path), row, resume=True).figure(5, "calls") == 1
    assert run(Archive(tmp_path), row, resume=False).figure(5, "calls") == 2


def test_a_row_that_judges_the_others_is_measured_in_every_run(tmp_path: Path) -> None:
    calls: list[int] = []
    row = counting(calls, of_others=True)
    for _ in range(2):
        run(Archive(tmp_path), row, resume=True)
    assert len(calls) == 2


def test_runs_that_measure_something_else_share_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {Archive.of(quick=quick, seeds=seeds).folder for quick in (False, True) for seeds in ([0], [0, 1])}
    assert len(folders) == 4
    before = Archive.of(quick=True, seeds=[0]).folder
    monkeypatch.setattr("compression_peers.archive.cpu_model", lambda: "another CPU")
    assert Archive.of(quick=True, seeds=[0]).folder != before


def test_who_changes_a_row_measures_that_one_alone_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(tmp_path)
    for number in (3, 4):
        archive.save(ROWS[number], MEASURED)
    changed = "r03_power_of_two.py"
    monkeypatch.setattr(
        "compression_peers.archive.tree_digest",
        lambda paths: "0" * 64 if paths[0].name == changed else tree_digest(paths),
    )
    assert archive.load(ROWS[3]) is None
    assert archive.load(ROWS[4]) is not None


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: f"row {row.number}")
def test_a_row_imports_nothing_of_another(row: Row) -> None:
    assert row.run is not None
    assert not re.search(r"import.*\br\d\d_|compression_peers\.rows", Path(inspect.getfile(row.run)).read_text())
