"""What the end-to-end tests start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded import Embedded


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Embedded]:
    embedded = Embedded(tmp_path / "data")
    embedded.start()
    yield embedded
    embedded.close()
