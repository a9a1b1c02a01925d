"""What is promised of the agent as a program: its footprint, its command line, its unit file, its version."""

from __future__ import annotations

import asyncio
import configparser
import importlib.util
import json
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

import edge_agent
from edge_agent.config import load_config
from edge_agent.main import build_parser, main
from tests.simulators import SimulatedControlPlane

ROOT = Path(__file__).parents[2]
LAST_LINES = re.compile(
    r"Python that wakes as often, idle CPU %: ([\d.]+)\n"
    r"agent VmRSS MiB: ([\d.]+) RssAnon MiB: ([\d.]+) idle CPU %: ([\d.]+)"
)


async def footprint(*arguments: str) -> tuple[float, ...]:
    """Idle CPU of a bare interpreter in per cent, VmRSS and RssAnon of the agent in MiB, its idle CPU."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "benchmarks/agent_footprint.py", *arguments), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 110)
    match = LAST_LINES.fullmatch("\n".join(out.decode().splitlines()[-2:]))
    assert match is not None
    return tuple(map(float, match.groups()))


async def test_the_agent_stays_within_its_footprint():
    bare_python, rss, anon, idle = await footprint("--idle-s", "8")
    assert rss <= 46
    assert anon <= 24
    # A machine whose caches others use makes whatever wakes up slow, so that seconds alone would judge the machine.
    assert idle < max(0.5, 4 * bare_python)


@pytest.mark.slow
async def test_an_agent_that_serves_mobilenet_v2_stays_within_its_footprint():
    _, rss, _, _ = await footprint("--network", "mobilenet-v2", "--idle-s", "2")
    assert rss <= 52


def test_the_engine_is_smaller_than_a_megabyte():
    engine = importlib.util.find_spec("edge_agent.runtime._engine")
    assert engine is not None
    assert Path(engine.origin).stat().st_size < 1_000_000


def test_the_stated_version_is_the_distribution_s():
    assert edge_agent.__version__ == metadata.version("espalier-edge")


def test_the_example_configuration_shows_every_key_and_its_default():
    example = load_config(ROOT / "deploy" / "agent.toml")
    default = load_config()
    for section in ("limits", "engine", "telemetry", "samples", "feedback", "timeouts", "logging", "control_plane"):
        assert getattr(example, section) == getattr(default, section)
    text = (ROOT / "deploy" / "agent.toml").read_text()
    for section, keys in vars(default).items():
        assert f"[{section}]" in text
        assert all(re.search(rf"^(# )?{key} = ", text, re.MULTILINE) for key in vars(keys))


def test_the_unit_file_runs_a_command_that_exists():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "deploy" / "espalier-agent.service")
    program, *arguments = unit["Service"]["ExecStart"].removeprefix("/usr/bin/env ").split()
    assert program == "espalier-agent"
    assert str(build_parser().parse_args(arguments).config) == "/etc/espalier-agent/agent.toml"
    assert unit["Service"]["NoNewPrivileges"] == "yes"


def check(capsys, *arguments: str) -> tuple[int, dict[str, object]]:
    code = main(["check", "--format", "json", *arguments])
    return code, json.loads(capsys.readouterr().out)


def test_check_passes_on_this_machine_and_warns_that_nobody_answers(capsys, tmp_path):
    code, result = check(capsys, "--state-dir", str(tmp_path), "--control-plane", "127.0.0.1:1")
    levels = {finding["name"]: finding["level"] for finding in result["findings"]}
    assert code == 0
    assert levels == {"machine": "ok", "engine": "ok", "state": "ok", "control plane": "warning"}


async def test_check_finds_a_control_plane(tmp_path):
    control_plane = SimulatedControlPlane()
    await control_plane.start()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edge_agent.main", "check", "--control-plane", control_plane.address),
        *("--state-dir", str(tmp_path)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    await control_plane.stop()
    assert process.returncode == 0
    assert f"{control_plane.address} answers" in out.decode()


def test_check_fails_for_an_engine_path_that_is_not_there(capsys, tmp_path):
    code, result = check(capsys, "--state-dir", str(tmp_path), "--engine-path", "abacus")
    assert code == 4
    assert "abacus" in str(result)


def test_a_wrong_configuration_ends_with_its_own_exit_code_and_no_traceback(capsys, tmp_path):
    assert main(["run", "--set", "serving.listen=0.0.0.0:1"]) == 3
    assert "--insecure" in capsys.readouterr().err
    assert main(["run", "--config", str(tmp_path / "absent.toml")]) == 3
    assert main(["run", "--set", "nonsense"]) == 3
    (tmp_path / "file").write_text("in the way")
    assert main(["run", "--state-dir", str(tmp_path / "file")]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_the_loud_warning_comes_where_only_the_reference_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("edge_agent.runtime.native.paths", lambda: ())
    assert main(["check", "--state-dir", str(tmp_path), "--control-plane", "127.0.0.1:1"]) == 0
    assert "!!! only the numpy reference is available" in capsys.readouterr().err
