"""The data directory has one owner at a time."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from orchestrator.data_dir import DataDir
from orchestrator.errors import ConfigError


def test_a_second_owner_is_told_who_has_it(tmp_path: Path) -> None:
    first = DataDir.open(tmp_path / "data")
    with pytest.raises(ConfigError, match=str(os.getpid())):
        DataDir.open(tmp_path / "data")
    first.close()
    DataDir.open(tmp_path / "data").close()


def test_endpoints_are_there_only_while_somebody_listens(tmp_path: Path) -> None:
    (tmp_path / "endpoints.json").write_text("left by a crash")
    owner = DataDir.open(tmp_path)
    assert not owner.endpoints_file.exists()
    owner.write_endpoints(agents="127.0.0.1:1")
    assert json.loads(owner.endpoints_file.read_text()) == {"agents": "127.0.0.1:1", "pid": os.getpid()}
    owner.close()
    assert not owner.endpoints_file.exists()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used"):
        DataDir.open(tmp_path / "file")
