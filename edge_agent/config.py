"""The agent's configuration: frozen dataclasses, read once by `main.py` and passed down.

Order: defaults, TOML file, environment (`ESPALIER_AGENT_SECTION_KEY`), flags. An unknown key is an error that names the
nearest known one.
"""

from __future__ import annotations

import dataclasses
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from edge_agent.errors import ConfigError
from edge_agent.life import StateTimeouts

ENVIRONMENT_PREFIX = "ESPALIER_AGENT_"


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    id: str = field(default_factory=socket.gethostname)
    """What the control plane calls this device; letters, digits, dots, dashes and underscores. Default: host name."""
    device_class: str = "default"
    """Devices of one class get the same model."""
    state_dir: Path = Path("espalier-agent-state")
    """Models, journal and spools; one agent only."""

    def __post_init__(self) -> None:
        for name in ("id", "device_class"):
            value = getattr(self, name)
            _check(
                re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", value) is not None,
                f"device.{name} {value!r} is not 1 to 63 letters, digits, dots, dashes or underscores, no sign first",
            )


@dataclass(frozen=True, kw_only=True)
class ControlPlaneConfig:
    address: str = "127.0.0.1:7443"
    """host:port, or unix:PATH, of the control plane's service for agents."""
    insecure: bool = False
    """Allow an address that is not this machine; connections are not encrypted yet."""
    sync_interval_s: float = 30.0
    """Between routine syncs until the control plane names its own interval."""
    backoff_initial_s: float = 1.0
    backoff_cap_s: float = 60.0
    """Longest wait between attempts while the control plane cannot be reached."""
    report_interval_s: float = 2.0
    """Between reports of pair counts on probation."""

    def __post_init__(self) -> None:
        _check(0 < self.sync_interval_s <= 86400, "control_plane.sync_interval_s must be within (0, 86400]")
        _check(
            0 < self.backoff_initial_s <= self.backoff_cap_s <= 3600,
            "control_plane.backoff_initial_s must be positive and at most backoff_cap_s, which is at most 3600",
        )
        _check(0 < self.report_interval_s <= 3600, "control_plane.report_interval_s must be within (0, 3600]")
        _check_address("control_plane.address", self.address, insecure=self.insecure)


@dataclass(frozen=True, kw_only=True)
class ServingConfig:
    listen: str = "127.0.0.1:8001"
    """host:port on loopback (port 0 picks one), or unix:PATH, for applications on this device."""
    insecure: bool = False
    """Allow an address that other machines can reach."""
    max_batch: int = 64
    """Samples in one request."""
    max_request_bytes: int = 8 << 20

    def __post_init__(self) -> None:
        _check(1 <= self.max_batch <= 4096, "serving.max_batch must be within [1, 4096]")
        _check(1024 <= self.max_request_bytes <= 256 << 20, "serving.max_request_bytes must be within [1 KiB, 256 MiB]")
        _check_address("serving.listen", self.listen, insecure=self.insecure)


@dataclass(frozen=True, kw_only=True)
class LimitsConfig:
    """What this device may give to a model; a model that exceeds it is refused. 0: no limit."""

    model_bytes: int = 0
    """Model and tensors together."""
    ram_bytes: int = 0
    """Weights and activations of a loaded model."""
    latency_p95_ms: float = 0.0
    """Engine time; held on probation, and reported for the choice of a candidate."""
    blob_bytes: int = 1 << 30
    """Largest single file that will be downloaded, whatever the control plane says."""

    def __post_init__(self) -> None:
        for limit in dataclasses.fields(self):
            _check(getattr(self, limit.name) >= 0, f"limits.{limit.name} must not be negative")


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    path: str = ""
    """One of the engine paths that `espalier-agent check` lists; empty for the fastest."""
    threads: int = 1
    """For one inference, 1 to 64: large operators are shared among them, with the same results."""

    def __post_init__(self) -> None:
        _check(1 <= self.threads <= 64, "engine.threads must be within [1, 64]")


@dataclass(frozen=True, kw_only=True)
class TelemetryConfig:
    window_s: float = 30.0
    spool_bytes: int = 8 << 20
    """On disk; beyond it the oldest windows are dropped and the gap is reported."""

    def __post_init__(self) -> None:
        _check(0.1 <= self.window_s <= 86400, "telemetry.window_s must be within [0.1, 86400]")
        _check(self.spool_bytes >= 64 << 10, "telemetry.spool_bytes must be at least 64 KiB")


@dataclass(frozen=True, kw_only=True)
class SamplesConfig:
    consent: bool = False
    """Inputs that an application labelled may leave this device for training."""
    spool_bytes: int = 16 << 20
    """On disk; beyond it nothing more is kept until the control plane has taken some."""

    def __post_init__(self) -> None:
        _check(self.spool_bytes >= 64 << 10, "samples.spool_bytes must be at least 64 KiB")


@dataclass(frozen=True, kw_only=True)
class FeedbackConfig:
    max_pending: int = 2048
    """Requests that may wait for their label; beyond it the oldest are forgotten."""
    late_after_s: float = 600.0
    """A label that comes later is counted as late."""
    input_bytes: int = 1 << 20
    """Memory for inputs that wait for their label, where consent was given."""

    def __post_init__(self) -> None:
        _check(0 <= self.max_pending <= 1 << 20, "feedback.max_pending must be within [0, 1048576]")
        _check(self.late_after_s > 0, "feedback.late_after_s must be positive")
        _check(self.input_bytes >= 0, "feedback.input_bytes must not be negative")


@dataclass(frozen=True, kw_only=True)
class LoggingConfig:
    level: str = "INFO"
    format: str = "auto"
    """text, json, or auto: text on a terminal, JSON lines otherwise."""

    def __post_init__(self) -> None:
        _check(self.level in ("DEBUG", "INFO", "WARNING", "ERROR"), f"logging.level {self.level!r} is not a level")
        _check(self.format in ("auto", "text", "json"), "logging.format must be auto, text or json")


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    device: DeviceConfig = field(default_factory=DeviceConfig)
    control_plane: ControlPlaneConfig = field(default_factory=ControlPlaneConfig)
    serving: ServingConfig = field(default_factory=ServingConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    samples: SamplesConfig = field(default_factory=SamplesConfig)
    feedback: FeedbackConfig = field(default_factory=FeedbackConfig)
    timeouts: StateTimeouts = field(default_factory=StateTimeouts)
    logging: LoggingConfig = field(default_factory=LoggingConfig)

    def __post_init__(self) -> None:
        for timeout in dataclasses.fields(self.timeouts):
            _check(getattr(self.timeouts, timeout.name) > 0, f"timeouts.{timeout.name} must be positive")


def load_config(
    file: Path | None = None, environment: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None
) -> AgentConfig:
    """Read the configuration.

    Args:
        file: TOML; None for none.
        environment: usually os.environ; only names that begin with ESPALIER_AGENT_ are read.
        flags: "section.key" to text.

    Raises:
        ConfigError: a key is unknown, or a value has the wrong type or is out of range.
    """
    values: dict[str, dict[str, Any]] = {}
    if file is not None:
        _read_file(file, values)
    for name, text in sorted((environment or {}).items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            section, key = _split_variable(name)
            _set(values, section, key, text, origin=f"environment variable {name}")
    for name, text in (flags or {}).items():
        section, _, key = name.partition(".")
        _set(values, section, key, text, origin="command line")
    return AgentConfig(**{name: _section_types()[name](**keys) for name, keys in values.items()})


def _read_file(file: Path, values: dict[str, dict[str, Any]]) -> None:
    import tomllib  # here and below: what a running agent needs once should not stay in its memory when not needed

    try:
        document = tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from error
    for section, keys in document.items():
        if not isinstance(keys, dict):
            raise ConfigError(f"{file}: {section} stands outside a section; {_known_sections()}")
        for key, value in keys.items():
            _set(values, section, key, value, origin=str(file))


def _set(values: dict[str, dict[str, Any]], section: str, key: str, value: Any, *, origin: str) -> None:
    sections = _section_types()
    if section not in sections:
        raise ConfigError(f"{origin}: unknown section {section!r}; {_nearest(section, sections)}")
    types = get_type_hints(sections[section])
    if key not in types:
        raise ConfigError(f"{origin}: unknown key {section}.{key}; {_nearest(key, types)}")
    values.setdefault(section, {})[key] = _convert(value, types[key], f"{origin}: {section}.{key}")


def _convert(value: Any, wanted: type, where: str) -> Any:
    """Bring a TOML value, or text from the environment or a flag, to the field's type."""
    if wanted is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if wanted is bool or isinstance(value, bool):
        if wanted is bool and isinstance(value, bool):
            return value
        raise ConfigError(f"{where} must be {'true or false' if wanted is bool else _article(wanted)}, not {value!r}")
    try:
        if wanted is float and isinstance(value, int | float | str):
            return float(value)
        if wanted is int and isinstance(value, int | str):
            return int(value)
    except ValueError:
        raise ConfigError(f"{where} must be {_article(wanted)}, not {value!r}") from None
    if wanted in (str, Path) and isinstance(value, str):
        return wanted(value)
    raise ConfigError(f"{where} must be {_article(wanted)}, not {value!r}")


def _article(wanted: type) -> str:
    return {int: "a whole number", float: "a number", str: "text", Path: "a path"}[wanted]


def _section_types() -> dict[str, Any]:
    return get_type_hints(AgentConfig)


def _split_variable(name: str) -> tuple[str, str]:
    rest = name.removeprefix(ENVIRONMENT_PREFIX).lower()
    for section in _section_types():
        if rest.startswith(section + "_"):
            return section, rest.removeprefix(section + "_")
    raise ConfigError(f"environment variable {name} names no section; {_known_sections()}")


def _known_sections() -> str:
    return f"known sections: {', '.join(_section_types())}"


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def _check_address(name: str, address: str, *, insecure: bool) -> None:
    """Refuse what is no address, and any address beyond this machine unless that was asked for."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        _check(0 < len(os.fsencode(path)) < 108, f"{name}: a socket path has 1 to 107 bytes, not {path!r}")
        return
    host, colon, port = address.rpartition(":")
    valid = bool(colon and host) and port.isdecimal() and int(port) < 65536
    _check(valid, f"{name} must be host:port or unix:PATH, not {address!r}")
    _check(
        insecure or is_loopback(host),
        f"{name} {address!r} is not this machine; connections are not encrypted yet, so that needs --insecure",
    )


def is_loopback(host: str) -> bool:
    """Whether an address, or the name localhost, is this machine by itself; other names are not looked up."""
    host = host.strip("[]")
    if host in ("localhost", "::1"):
        return True
    try:
        return socket.inet_aton(host)[0] == 127 and host.count(".") == 3
    except OSError:
        return False
