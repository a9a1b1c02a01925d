"""Which control plane a command talks to."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.profiles import DEFAULT_ADDRESS, read_profiles, resolve_target
from orchestrator.errors import ConfigError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text(
        '[profiles.default]\naddress = "a:1"\n[profiles.lab]\naddress = "b:2"\n', encoding="utf-8"
    )
    return tmp_path


def test_the_nearest_word_wins(home: Path) -> None:
    base = {"ESPALIER_HOME": str(home)}
    both = base | {"ESPALIER_ADDRESS": "c:3", "ESPALIER_PROFILE": "lab"}
    assert resolve_target("d:4", "lab", both).address == "d:4"
    assert resolve_target(None, "lab", both).address == "b:2"
    assert resolve_target(None, None, both).address == "c:3"
    assert resolve_target(None, None, base | {"ESPALIER_PROFILE": "lab"}).address == "b:2"
    assert resolve_target(None, None, base).address == "a:1"
    assert resolve_target(None, None, {"ESPALIER_HOME": "/nonexistent"}).address == DEFAULT_ADDRESS


def test_a_profile_that_is_not_there_names_the_nearest(home: Path) -> None:
    with pytest.raises(ConfigError, match="'lab'"):
        resolve_target(None, "lap", {"ESPALIER_HOME": str(home)})


@pytest.mark.parametrize(
    "text",
    ["not toml", "[profils.lab]\n", "profiles = 3\n", "[profiles.lab]\nadress = 'x:1'\n", "[profiles]\nlab = 1\n"],
)
def test_a_malformed_file_is_one_typed_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        read_profiles(path)
