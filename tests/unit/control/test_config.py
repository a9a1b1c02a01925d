"""Configuration of the control plane: later sources win, and what is wrong is said with what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config import OrchestratorConfig, is_loopback, load_config, split_address
from orchestrator.errors import ConfigError


def test_the_defaults_are_all_loopback() -> None:
    config = OrchestratorConfig()
    for address in (config.server.agents, config.server.operators, config.server.http):
        assert is_loopback(split_address(address, "x")[0])


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "control.toml"
    file.write_text('[fleet]\nheartbeat_s = 1\nmin_sync_s = 1\noffline_after_s = 1\n[server]\ndata_dir = "from-file"\n')
    environment = {"ESPALIER_CONTROL_FLEET_MIN_SYNC_S": "2", "ESPALIER_CONTROL_FLEET_OFFLINE_AFTER_S": "2", "PATH": "/"}
    config = load_config(file, environment, {"fleet.offline_after_s": "3"})
    assert (config.fleet.heartbeat_s, config.fleet.min_sync_s, config.fleet.offline_after_s) == (1.0, 2.0, 3.0)
    assert config.server.data_dir == Path("from-file")


@pytest.mark.parametrize("address", ["0.0.0.0:7443", "[::]:7443", "192.168.1.4:7443", "control.example:7443"])
def test_others_may_only_reach_it_if_the_operator_insists(address: str) -> None:
    with pytest.raises(ConfigError, match="--insecure"):
        load_config(None, {}, {"server.agents": address})
    assert load_config(None, {}, {"server.agents": address, "server.insecure": True}).server.agents == address


@pytest.mark.parametrize("address", ["localhost:1", "127.0.0.9:1", "[::1]:0"])
def test_loopback_has_many_names(address: str) -> None:
    assert load_config(None, {}, {"server.operators": address}).server.operators == address


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("server.agent", "x:1", "did you mean 'server.agents'"),
        ("flet.heartbeat_s", 1, "did you mean 'fleet.heartbeat_s'"),
        ("server.agents", "nowhere", "HOST:PORT"),
        ("server.agents", "127.0.0.1:70000", "HOST:PORT"),
        ("fleet.heartbeat_s", 0, "above 0"),
        ("fleet.heartbeat_s", "nan", "above 0"),
        ("fleet.expected_agents", "many", "must be a int"),
        ("server.insecure", "perhaps", "true or false"),
        ("fleet.heartbeat_s", [1], "cannot be"),
    ],
)
def test_what_is_wrong_is_said(key: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(None, {}, {key: value})


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "missing.toml", {}, {})
    (tmp_path / "bad.toml").write_text("[server\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "bad.toml", {}, {})
    (tmp_path / "flat.toml").write_text("server = 1\n")
    with pytest.raises(ConfigError, match="must be a section"):
        load_config(tmp_path / "flat.toml", {}, {})
