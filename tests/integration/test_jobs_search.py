"""A job that searches: trials on real Ray, a front that ends with measured numbers, or an answer why there is none."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator.jobs.cluster import EmbeddedCluster
from orchestrator.records import JobState
from tests.job_plane import JobPlane, job_plane, small_cluster, spec

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

SPACE = {"weightBits": [8, 4, 3], "macsFractions": [1.0, 0.6], "epochs": 1}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def cluster(data_dir: Path) -> Iterator[EmbeddedCluster]:
    cluster = small_cluster(data_dir)
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
async def plane(data_dir: Path, cluster: EmbeddedCluster) -> AsyncIterator[JobPlane]:
    async with job_plane(data_dir) as plane:
        yield plane


def searching(**changes: object) -> str:
    document = json.loads(spec(**{"candidates": [], "search": {"trials": 8, "budget": 300, "space": SPACE}, **changes}))
    del document["spec"]["candidates"]
    return json.dumps(document)


async def test_a_search_ends_with_a_front_of_measured_models_and_the_best_of_it_is_chosen(plane: JobPlane) -> None:
    job_id = await plane.submit(searching(targets=[{"deviceClass": "gateway", "accuracyDrop": 0.1}]))
    job = await plane.end_of(job_id)
    assert job.state is JobState.SUCCEEDED, plane.log(job_id)
    assert job.search is not None
    assert len(job.search.trials) == 8
    assert len({trial.name for trial in job.search.trials}) == 8
    assert job.teacher_accuracy > 0.8
    front = {trial.name for trial in job.search.trials if trial.on_front}
    assert {candidate.name for candidate in job.candidates} == front
    assert all(candidate.measurements[0].runs == 20 for candidate in job.candidates)
    best = next(candidate for candidate in job.candidates if candidate.chosen_for)
    assert best.accuracy >= job.teacher_accuracy - 0.1
    print(job.search)
    print(job.message)
