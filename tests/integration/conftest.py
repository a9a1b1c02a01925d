"""What tests of whole jobs share; imports wait, since tests of the agent run here where only the edge is installed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from orchestrator.jobs.cluster import EmbeddedCluster
    from tests.job_plane import JobPlane


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def cluster(data_dir: Path) -> Iterator[EmbeddedCluster]:
    """One head for all tests of a file, as successive jobs of one control plane have."""
    from tests.job_plane import small_cluster

    cluster = small_cluster(data_dir)
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
async def plane(data_dir: Path, cluster: EmbeddedCluster) -> AsyncIterator[JobPlane]:
    from tests.job_plane import job_plane

    async with job_plane(data_dir) as plane:
        yield plane
