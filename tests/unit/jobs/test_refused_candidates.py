"""A candidate that cannot be made is a result, not the end of its job; what is wrong with all of them is."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest

from orchestrator.compression.errors import (
    CompressionError,
    DataError,
    FidelityError,
    InfeasibleError,
    PruningError,
    WeightError,
)
from orchestrator.compression.recipe import Recipe
from orchestrator.jobs import conclusion
from orchestrator.jobs.control_plane import ControlPlane
from orchestrator.jobs.orders import FASTER_CANDIDATE, MODEL, RECIPE, CandidateOrder, DataFacts
from orchestrator.jobs.pipeline import JobPipeline
from orchestrator.jobs.ray_runner import RayRunner
from orchestrator.jobs.stages import Blob, StageOutput, StageRecord
from orchestrator.spec import CandidateSpec, CompressionJobSpec, DataSpec, TargetSpec, TeacherSpec
from protos import operator_pb2

RUINED = InfeasibleError("2-bit weights ruin dw", nearest="3 bits for all layers")
REFUSALS = (RUINED, FidelityError("rules do not follow", fidelity=0.5, floor=0.9), PruningError("too narrow"))


class SimulatedCluster:
    """Makes every candidate but those that an error is given for."""

    def __init__(self, errors: dict[str, CompressionError]) -> None:
        self.errors = errors

    def parallel_tasks(self) -> int:
        return 2

    def reporter(self, stage: str) -> Any:
        return lambda fraction, words="": None

    def load_data(self, spec: DataSpec) -> tuple[DataFacts, None, None]:
        digests = dict.fromkeys(("train", "calibrate", "choose", "certify"), "dd" * 32)
        return DataFacts(digest="dd" * 32, split_digests=digests, counts={}), None, None

    def make_candidate(self, stage: str, order: CandidateOrder, splits: None, returned: None) -> StageOutput:
        if order.spec.name in self.errors:
            raise self.errors[order.spec.name]
        figures = {"accuracy": 0.9, "fp32_accuracy": 0.9, "model_bytes": 10, "peak_ram_bytes": 10}
        return StageOutput(blobs={MODEL: Blob("ab" * 32, 10)}, metrics={**figures, RECIPE: Recipe().to_json()})

    def time_model(self, digest: str, **runs: int) -> dict[str, Any]:
        return {"engine_path": "avx2", "latency_p50_us": 1.0, "latency_p95_us": 2.0, "runs": 9, "peak_ram_bytes": 10}

    def certify_models(self, digests: list[str], *_: object) -> list[dict[str, Any]]:
        return [{} for _ in digests]


class NoDevices:
    """A control plane without devices; keeps what it was told last."""

    def __init__(self) -> None:
        self.reported: dict[str, Any] = {}

    def find_blob(self, digest: str) -> Blob | None:
        return Blob(digest, 1) if digest else None

    def get_stage(self, key: str) -> None:
        return None

    def put_stage(self, record: StageRecord) -> StageRecord:
        return record

    def request_benchmark(self, order: operator_pb2.BenchmarkOrder) -> operator_pb2.Benchmark:
        return operator_pb2.Benchmark(no_device=True)

    def get_requesting_class(self) -> str:
        return "camera"

    def report(self, **told: Any) -> bool:
        self.reported = told
        return False


def run(errors: dict[str, CompressionError], *, floor: float = 0.0, action: str = "") -> conclusion.JobOutcome:
    """A job whose candidates are `good` and those of `errors`."""
    spec = CompressionJobSpec(
        name="job",
        model_name="camera",
        data=DataSpec(entrypoint="net:data"),
        teacher=TeacherSpec(entrypoint="net:teacher", checkpoint="sha256:" + "aa" * 32),
        candidates=tuple(
            CandidateSpec(name=name) for name in dict.fromkeys(("good", *errors)) if not name.endswith("-narrower")
        ),
        targets=(TargetSpec(device_class="camera", accuracy_floor=floor),),
    )
    job = operator_pb2.DriverJob(id="job-1", action=action)
    plane = NoDevices()
    cluster = cast(RayRunner, SimulatedCluster(errors))
    outcome = JobPipeline(job, spec, cast(ControlPlane, plane), cluster).run()
    assert plane.reported["message"] == outcome.message
    assert plane.reported["candidates"] == outcome.candidates
    return outcome


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr(conclusion, "publish", lambda plane, chosen, ancestry: names.append(chosen.candidate.name))
    return names


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
def test_an_error_comes_from_the_worker_as_it_was_raised(error: CompressionError) -> None:
    arrived = copy.copy(error)  # goes the way that pickle goes
    assert (type(arrived), str(arrived), vars(arrived)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
def test_a_job_goes_on_without_a_candidate_that_cannot_be_made_and_says_why(
    error: CompressionError, published: list[str]
) -> None:
    outcome = run({"bad": error})
    assert outcome.state == operator_pb2.JOB_SUCCEEDED
    assert published == ["good"]
    good, bad = outcome.candidates
    assert (bad.name, bad.model_sha256, bad.verdict) == ("bad", b"", f"could not be made: {error}")
    assert list(good.chosen_for) == ["camera"]
    assert outcome.message.startswith("camera: good (")
    assert outcome.message.endswith(f"; bad: could not be made: {error}")


def test_a_job_that_no_candidate_is_left_of_is_infeasible_and_names_the_nearest_plan() -> None:
    outcome = run({"good": RUINED})
    assert outcome.state == operator_pb2.JOB_INFEASIBLE
    assert [candidate.verdict for candidate in outcome.candidates] == [f"could not be made: {RUINED}"]
    assert "no candidate meets the limits; nearest: there are none; good: could not be made: " in outcome.message
    assert outcome.message.endswith("nearest feasible plan: 3 bits for all layers")


def test_an_infeasible_job_names_what_came_near_and_what_could_not_be_made() -> None:
    outcome = run({"bad": RUINED}, floor=0.95)
    assert outcome.state == operator_pb2.JOB_INFEASIBLE
    assert "nearest: good: accuracy 0.9000 is 0.0500 below" in outcome.message
    assert "bad: could not be made: 2-bit weights ruin dw" in outcome.message


@pytest.mark.parametrize("error", [DataError("no samples"), WeightError("stem is not finite")])
def test_what_is_wrong_with_the_data_or_the_network_fails_the_job(error: CompressionError) -> None:
    with pytest.raises(type(error)):
        run({"bad": error})


def test_a_narrower_one_that_nobody_named_may_be_impossible_in_any_way() -> None:
    outcome = run({"good-narrower": WeightError("stem is dead")}, action=FASTER_CANDIDATE)
    assert {candidate.name: candidate.verdict for candidate in outcome.candidates}["good-narrower"] == (
        "could not be made: stem is dead"
    )
