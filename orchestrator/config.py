"""Configuration of the control plane: frozen values from defaults, a TOML file, environment variables and flags.

Each later source wins. Read once, in orchestrator.main, and passed down. Unknown keys are errors that name the nearest
known one.
"""

from __future__ import annotations

import difflib
import ipaddress
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError

ENVIRONMENT_PREFIX = "ESPALIER_CONTROL_"


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Where it keeps everything, and where it listens."""

    data_dir: Path = Path("espalier-data")
    """Where everything is kept; one control plane at a time owns it."""
    agents: str = "127.0.0.1:7443"
    """Where agents call; port 0 takes a free one."""
    operators: str = "127.0.0.1:7444"
    """Where the command line, the SDK and job drivers call. Submitting a job runs code."""
    http: str = "127.0.0.1:7445"
    """Web page, `/metrics` and `/healthz`."""
    advertise: str = ""
    """HOST by which job drivers reach the operators' port, where they cannot use the one it listens on."""
    insecure: bool = False
    """Allow addresses other than loopback, although callers do not have to prove who they are."""
    stop_grace_s: float = 2.0
    """How long calls that are under way may take to end at shutdown."""

    def __post_init__(self) -> None:
        for name in ("agents", "operators", "http"):
            address = getattr(self, name)
            host, _ = split_address(address, f"server.{name}")
            if not self.insecure and not is_loopback(host):
                raise ConfigError(
                    f"server.{name} is {address}, which others can reach, and nobody has to prove who they are: "
                    "listen on 127.0.0.1, or pass --insecure on a network that you trust"
                )
        _check_positive(self, "stop_grace_s")


@dataclass(frozen=True, kw_only=True)
class FleetConfig:
    """How devices are asked to behave."""

    expected_agents: int = 5000
    """How many agents may come back at once without any being turned away."""
    min_sync_s: float = 15.0
    """The shortest time between two routine syncs of a device."""
    max_syncs_per_s: float = 200.0
    """Of the whole fleet: above it devices sync less often."""
    heartbeat_s: float = 30.0
    """Between two signs of life on an open watch."""
    offline_after_s: float = 60.0
    """A device that is not heard of for so long counts as offline."""

    def __post_init__(self) -> None:
        _check_positive(self, "expected_agents", "min_sync_s", "max_syncs_per_s", "heartbeat_s", "offline_after_s")


@dataclass(frozen=True, kw_only=True)
class JobsConfig:
    """Where jobs run."""

    ray_address: str = ""
    """Of a Ray cluster; empty: drivers are processes on this machine and use the embedded Ray."""
    max_drivers: int = 2
    """Jobs that run at once; others are queued."""

    def __post_init__(self) -> None:
        _check_positive(self, "max_drivers")


@dataclass(frozen=True, kw_only=True)
class RetentionConfig:
    """What is forgotten when."""

    events_s: float = 30 * 86_400.0
    """The event log; a watch from further back is told to list again."""
    windows_s: float = 30 * 86_400.0
    """Telemetry windows."""
    samples_s: float = 7 * 86_400.0
    """Returned samples, where no policy says less."""

    def __post_init__(self) -> None:
        _check_positive(self, "events_s", "windows_s", "samples_s")


@dataclass(frozen=True, kw_only=True)
class OrchestratorConfig:
    server: ServerConfig = field(default_factory=ServerConfig)
    fleet: FleetConfig = field(default_factory=FleetConfig)
    jobs: JobsConfig = field(default_factory=JobsConfig)
    retention: RetentionConfig = field(default_factory=RetentionConfig)


def load_config(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> OrchestratorConfig:
    """Put the sources together; each later one wins.

    Args:
        flags: by `section.key`.

    Raises:
        ConfigError: a key is unknown, a value has the wrong type or is out of range, or the file cannot be read.
    """
    sections = typing.get_type_hints(OrchestratorConfig)
    values: dict[str, dict[str, Any]] = {name: {} for name in sections}
    for name, table in (_read_toml(file) if file else {}).items():
        if not isinstance(table, dict):
            raise ConfigError(f"{file}: {name} must be a section: [{name}]")
        for key, value in table.items():
            _put(values, sections, f"{name}.{key}", value)
    for variable, text in environment.items():
        if variable.startswith(ENVIRONMENT_PREFIX):
            section, _, key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
            _put(values, sections, f"{section}.{key}", text)
    for path, value in flags.items():
        _put(values, sections, path, value)
    return OrchestratorConfig(**{name: sections[name](**values[name]) for name in sections})


def split_address(address: str, name: str) -> tuple[str, int]:
    """Host, without brackets, and port.

    Raises:
        ConfigError: not HOST:PORT.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{name} must be HOST:PORT, not {address!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error


def _put(values: dict[str, dict[str, Any]], sections: Mapping[str, type], path: str, value: Any) -> None:
    section, _, key = path.partition(".")
    known = [f"{name}.{field}" for name in sections for field in typing.get_type_hints(sections[name])]
    if path not in known:
        near = difflib.get_close_matches(path, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"{path!r} is no key of the configuration{hint}")
    values[section][key] = _as(typing.get_type_hints(sections[section])[key], value, path)


def _as(kind: type, value: Any, path: str) -> Any:
    """A value of the annotated type, out of what TOML, a variable or a flag holds."""
    if kind is bool:
        words = {"true": True, "false": False, "1": True, "0": False}
        found = value if isinstance(value, bool) else words.get(str(value).lower())
        if found is None:
            raise ConfigError(f"{path} must be true or false, not {value!r}")
        return found
    if isinstance(value, bool) or not isinstance(value, str | int | float | Path):
        raise ConfigError(f"{path} cannot be {value!r}")
    try:
        return kind(value)
    except ValueError:
        raise ConfigError(f"{path} must be a {kind.__name__}, not {value!r}") from None


def _check_positive(section: Any, *names: str) -> None:
    for name in names:
        if not getattr(section, name) > 0:
            raise ConfigError(f"{name} must be above 0, not {getattr(section, name)}")
