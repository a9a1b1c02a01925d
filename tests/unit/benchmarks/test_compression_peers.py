"""The judging of the compression benchmark: statistics, verdicts and the table of rows, on results made up here."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from compression_peers import report, session, teachers
from compression_peers.archive import Archive
from compression_peers.bench import Bench, Spent
from compression_peers.exchange import QUANTIZERS
from compression_peers.networks import NETWORKS, STUDENTS, with_widths_of
from compression_peers.results import FP32, FP32_ROW, Figure, Outcome, Results, lower_bound_95, paired
from compression_peers.row import OURS, Check, Row, Verdict, above, at_least, at_most, verdict
from compression_peers.rows import ROWS
from compression_peers.teachers import CORRUPTIONS, FAIR, FULL, QUICK
from runtime_peers.environments import ENVIRONMENTS

from orchestrator.compression.capture import capture
from orchestrator.compression.capture.ir import total_macs

SAMPLES = 10_000


def outcome(row: int, method: str, right: int, *, network: str = "resnet8", seed: int = 0, **more: object) -> Outcome:
    """The first `right` of all samples are answered rightly, so that two outcomes differ in as few as they can."""
    corrupted = {str(kind): 0.5 for kind in CORRUPTIONS}
    correct = np.arange(SAMPLES) < right
    return Outcome(row=row, network=network, seed=seed, method=method, correct=correct, corrupted=corrupted, **more)


def results_of(*measured: Outcome | Figure) -> Results:
    results = Results()
    for result in measured:
        results.add(result)
    return results


def test_fourteen_rows_are_there_each_under_its_own_number() -> None:
    assert list(ROWS) == list(range(1, 15))
    assert all(row.number == number and row.title and row.target for number, row in ROWS.items())


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: f"row {row.number}")
def test_a_row_is_missed_while_nothing_is_measured(row: Row) -> None:
    found = verdict(row, Results(), networks=row.networks, known=tuple(NETWORKS))
    assert not found.met
    assert found.words.startswith("missed")


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: f"row {row.number}")
def test_a_row_runs_if_and_only_if_it_is_judged(row: Row) -> None:
    assert (row.run is None) == (row.judge is None)
    assert row.built or not row.quick


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: f"row {row.number}")
def test_environments_that_a_row_wants_early_are_known(row: Row) -> None:
    bench = Bench(quick=False, networks=(), seeds=(), peers=QUANTIZERS, data=None, say=print)  # type: ignore[arg-type]
    assert set(row.environments(bench)) <= ENVIRONMENTS.keys()


def test_every_network_has_its_training_and_its_fair_accuracy() -> None:
    assert NETWORKS.keys() == FULL.keys() == FAIR.keys()
    assert set(session.plan([1], quick=True).networks) <= QUICK.keys()


def test_a_row_that_broke_is_missed_with_the_reason() -> None:
    row = Row(number=2, title="t", target="t", judge=lambda results, networks: [at_most("x", 0, 1)])
    results = Results()
    assert verdict(row, results, networks=(), known=()).met
    results.failures[2] = "ValueError: no"
    assert verdict(row, results, networks=(), known=()) == Verdict(False, "missed: ValueError: no")


def test_a_row_is_missed_where_one_of_its_networks_is_not_there() -> None:
    row = Row(number=2, title="t", target="t", judge=lambda results, networks: [at_most("x", 0, 1) for _ in networks])
    assert verdict(row, Results(), networks=["resnet8"], known=["resnet8"]).met
    assert verdict(row, Results(), networks=["resnet8", "vit"], known=["resnet8"]).words == "missed: no network vit"


def test_a_row_without_checks_is_missed() -> None:
    row = Row(number=2, title="t", target="t", judge=lambda results, networks: [])
    assert not verdict(row, Results(), networks=(), known=()).met


@pytest.mark.parametrize("check", [at_most("x", math.nan, 1), at_least("x", math.nan, 1), above("x", math.nan, 1)])
def test_what_was_not_measured_meets_no_limit(check: Check) -> None:
    assert not check.met


def test_limits_are_met_on_the_line_but_above_means_above() -> None:
    assert at_most("x", 0.4, 0.4).met
    assert at_least("x", 12, 12).met
    assert not above("x", 0.0, 0.0).met


def test_points_lost_are_paired_by_seed() -> None:
    results = results_of(
        outcome(FP32_ROW, FP32, 9000, seed=0), outcome(FP32_ROW, FP32, 9200, seed=1),
        outcome(1, OURS, 8990, seed=0), outcome(1, OURS, 9190, seed=1),
    )  # fmt: skip
    lost, error = results.drop(1, "resnet8", OURS)
    assert lost == pytest.approx(0.1)
    assert error == pytest.approx(100 * math.sqrt(0.001 * 0.999 / (2 * SAMPLES)), rel=1e-3)
    assert results.spread(1, "resnet8", OURS) == pytest.approx(math.sqrt(2))


def test_the_paired_error_ignores_what_both_answer_alike() -> None:
    same = outcome(1, "a", 9000)
    assert paired([(same, same)]) == (0.0, 0.0)


def test_a_failed_peer_is_no_result() -> None:
    results = results_of(Outcome(row=1, network="resnet8", seed=0, method="NNCF", error="not installed"))
    assert math.isinf(results.lost(1, "resnet8", "NNCF"))
    assert list(results.methods(1, "resnet8")) == ["NNCF"]


def test_the_lower_bound_is_students() -> None:
    gains = [0.1, 0.3, 0.2, 0.4, 0.0]
    assert lower_bound_95(gains) == pytest.approx(0.2 - 2.132 * np.std(gains, ddof=1) / math.sqrt(5), abs=1e-9)
    assert math.isnan(lower_bound_95([1.0]))


def test_w8a8_is_judged_against_the_best_peer_beyond_the_error() -> None:
    fp32, ours = outcome(FP32_ROW, FP32, 9000), outcome(1, OURS, 8990, seconds=3.0)
    close, better = outcome(1, "NNCF", 8992), outcome(1, "NNCF", 9020)
    assert _met(1, fp32, ours, close)
    assert not _met(1, fp32, ours, better)
    assert not _met(1, fp32, outcome(1, OURS, 8970, seconds=3.0), close)
    assert not _met(1, fp32, outcome(1, OURS, 8990, seconds=16.0), close)
    assert not _met(1, fp32, ours)  # with nobody to compare with


def test_half_the_macs_must_lead_torch_pruning_and_be_quick() -> None:
    fp32, peer = outcome(FP32_ROW, FP32, 9000), outcome(6, "Torch-Pruning", 8960)
    assert _met(6, fp32, peer, outcome(6, OURS, 8961, seconds=170.0))
    assert not _met(6, fp32, peer, outcome(6, OURS, 8960, seconds=170.0))
    assert not _met(6, fp32, peer, outcome(6, OURS, 8961, seconds=190.0))
    assert not _met(6, fp32, outcome(6, OURS, 8961, seconds=170.0))


def test_how_much_smaller_is_the_file_against_fp32() -> None:
    fp32 = outcome(FP32_ROW, FP32, 9000, size_bytes=312_000)
    assert _met(7, fp32, outcome(7, OURS, 8950, size_bytes=26_000))
    assert not _met(7, fp32, outcome(7, OURS, 8950, size_bytes=26_001))


def test_a_teacher_must_help_beyond_what_seeds_do() -> None:
    def students(gains: list[int], gain_few: int) -> Iterator[Outcome]:
        for seed, gain in enumerate(gains):
            yield outcome(9, "student alone", 8900, seed=seed)
            yield outcome(9, "student under the teacher", 8900 + gain, seed=seed)
        for seed in range(3):
            yield outcome(9, "student alone, a tenth of the labels", 8500, seed=seed)
            yield outcome(9, "student under the teacher, no labels", 8500 + gain_few, seed=seed)

    assert _met(9, *students([20, 30, 40, 30, 20], 100))
    assert not _met(9, *students([20, 30, 40, 30, 20], 99))
    assert not _met(9, *students([-20, 60, 10, 50, -10], 100))  # its mean is above 0, its lower bound is not
    assert not _met(9, *students([20, 30, 40, 30], 100))


def test_what_is_said_must_be_what_runs_to_the_last_sample() -> None:
    def figures(different: int) -> list[Figure]:
        values = {"models": 3, "answers that differ": different, "certificates that are wrong": 0}
        return [Figure(row=14, label=label, value=value) for label, value in values.items()]

    assert _met(14, *figures(0))
    assert not _met(14, *figures(1))


def _met(number: int, *measured: Outcome | Figure) -> bool:
    return verdict(ROWS[number], results_of(*measured), networks=["resnet8"], known=["resnet8"]).met


def test_a_full_run_counts_all_rows_and_a_quick_one_those_it_can_show() -> None:
    assert len(session.plan(list(ROWS), quick=False).rows) == 14
    quick = session.plan(list(ROWS), quick=True)
    assert {row.number for row in quick.rows} == {row.number for row in ROWS.values() if row.quick}
    assert quick.left_out == [row.number for row in ROWS.values() if not row.quick]
    assert session.plan(list(ROWS), quick=False).networks == tuple(NETWORKS)


def test_only_networks_that_a_row_looks_at_are_trained() -> None:
    assert session.plan([5], quick=False).networks == ("ds-cnn",)
    assert session.plan([8], quick=False).networks == ("resnet8", "ds-cnn", "mlp")
    assert session.plan([8], quick=True).networks == ()  # not a row of quick runs
    assert session.plan([10], quick=False).networks == ()


@pytest.mark.parametrize("quick", [False, True])
def test_the_report_ends_with_what_was_met(quick: bool) -> None:
    wanted = session.plan(list(ROWS), quick=quick)
    results = results_of(*_some_results())
    lines = report.text(wanted, results).splitlines()
    assert lines[-1] == f"targets met: {report.met(wanted, results)} of {len(wanted.rows)}"
    assert sum(line.startswith("## Row ") for line in lines) == len(wanted.rows)
    assert "NNCF on resnet8: not installed" in lines
    assert any("torchao" in line and "only a full run" in line for line in lines) == quick


def test_the_plain_result_is_json_without_infinities() -> None:
    plain = report.plain(session.plan(list(ROWS), quick=True), results_of(*_some_results()))
    text = json.dumps(plain, allow_nan=False)
    assert json.loads(text)["outcomes"][1]["points_lost"] == pytest.approx(0.1)


def _some_results() -> Iterator[Outcome]:
    for network in NETWORKS:
        yield outcome(FP32_ROW, FP32, 9000, network=network, size_bytes=300_000)
        yield outcome(1, OURS, 8990, network=network, size_bytes=80_000, latency_us=70.0, seconds=2.0)
    yield Outcome(row=1, network="resnet8", seed=0, method="NNCF", error="not installed")


def test_a_run_goes_on_when_a_row_breaks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def breaks(bench: Bench) -> Iterator[Outcome]:
        raise RuntimeError("out of luck")
        yield

    def works(bench: Bench) -> Iterator[Figure]:
        yield Figure(row=10, label="fidelity", value=1.0)

    rows = tuple(
        Row(number=number, title="t", target="t", networks=(), run=run, judge=lambda results, networks: [])
        for number, run in ((4, breaks), (10, works))
    )
    monkeypatch.setattr(teachers, "load_data", lambda: None)
    plan = session.Plan(quick=False, rows=rows, networks=(), seeds=(), peers=())
    results = session.run(plan, lambda message: None, archive=Archive(tmp_path), after_row=lambda results: None)
    assert results.failures == {4: "RuntimeError: out of luck"}
    assert results.figure(10, "fidelity") == 1.0


def test_time_goes_on_from_what_was_spent_before() -> None:
    before = Spent(10.0, 5.0)
    with Spent.after(before) as spent:
        pass
    assert spent.seconds >= 10.0
    assert (before.seconds, before.cpu_seconds) == (10.0, 5.0)


@pytest.mark.parametrize(
    ("network", "fewest", "most"), [("resnet8", 75_000, 80_000), ("ds-cnn", 15_000, 25_000), ("mlp", 50_000, 200_000)]
)
def test_the_networks_have_the_sizes_that_are_stated(network: str, fewest: int, most: int) -> None:
    model = NETWORKS[network]()
    assert fewest <= sum(parameter.numel() for parameter in model.parameters()) <= most
    assert total_macs(capture(model.eval(), (1, 28, 28))) > 0


def test_a_pruned_network_comes_back_from_a_peer_by_its_widths() -> None:
    torch.manual_seed(0)
    state = NETWORKS["ds-cnn"]().state_dict()
    narrow = {}
    for name, tensor in state.items():
        channels = [size // 2 if size == 64 else size for size in tensor.shape]
        narrow[name] = tensor[tuple(slice(0, size) for size in channels)].clone()
    model = with_widths_of(NETWORKS["ds-cnn"](), narrow).eval()
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("network", STUDENTS)
def test_a_student_has_at_most_a_tenth_of_its_teachers_multiplications(network: str) -> None:
    teacher, student = (
        total_macs(capture(made().eval(), (1, 28, 28))) for made in (NETWORKS[network], STUDENTS[network])
    )
    assert 0.09 * teacher < student <= 0.1 * teacher


def rules_results(**changed: float) -> Results:
    found = {"espalier": 96.0, "CART on hard labels": 93.0, "rules": 32.0, "table": 300.0} | changed
    tables = ("breast cancer", "wine")
    return results_of(*(Figure(row=10, label=f"{t}: {what}", value=v) for t in tables for what, v in found.items()))


@pytest.mark.parametrize(
    ("changed", "is_met"),
    [({}, True), ({"espalier": 94.9}, False), ({"CART on hard labels": 96.0}, False), ({"table": 4097.0}, False)],
)
def test_rules_must_follow_be_ahead_of_trees_and_be_small(changed: dict[str, float], is_met: bool) -> None:
    assert verdict(ROWS[10], rules_results(**changed), networks=(), known=()).met == is_met


@pytest.mark.parametrize(("share", "lost", "is_met"), [(50.0, 30, True), (49.9, 0, False), (60.0, 31, False)])
def test_a_cascade_must_answer_half_and_lose_little(share: float, lost: int, is_met: bool) -> None:
    results = results_of(
        outcome(11, "network alone", 9000),
        outcome(11, OURS, 9000 - lost),
        Figure(row=11, label="resnet8, seed 0: answered by rules", value=share),
    )
    assert verdict(ROWS[11], results, networks=("resnet8",), known=("resnet8",)).met == is_met
