"""Which control plane a command talks to: a flag, the environment, a named profile, or this machine.

Profiles are in `config.toml` in `$ESPALIER_HOME` (default `~/.config/espalier`):

    [profiles.lab]
    address = "127.0.0.1:17444"
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ConfigError

DEFAULT_ADDRESS = "127.0.0.1:7444"
DEFAULT_PROFILE = "default"


@dataclass(frozen=True, kw_only=True)
class Target:
    """An address, and where it came from."""

    address: str
    source: str


def config_path(environment: Mapping[str, str]) -> Path:
    home = environment.get("ESPALIER_HOME")
    return Path(home if home else Path.home() / ".config" / "espalier") / "config.toml"


def resolve_target(address: str | None, profile: str | None, environment: Mapping[str, str]) -> Target:
    """The first of: `--address`, `--profile`, ESPALIER_ADDRESS, ESPALIER_PROFILE, the profile "default", this machine.

    Raises:
        ConfigError: a profile is asked for that is not there, or the file is malformed.
    """
    if address:
        return Target(address=address, source="--address")
    path = config_path(environment)
    if profile:
        return _from_profile(path, profile, "--profile")
    if environment.get("ESPALIER_ADDRESS"):
        return Target(address=environment["ESPALIER_ADDRESS"], source="ESPALIER_ADDRESS")
    if environment.get("ESPALIER_PROFILE"):
        return _from_profile(path, environment["ESPALIER_PROFILE"], "ESPALIER_PROFILE")
    if DEFAULT_PROFILE in read_profiles(path):
        return _from_profile(path, DEFAULT_PROFILE, "default profile")
    return Target(address=DEFAULT_ADDRESS, source="default")


def read_profiles(path: Path) -> dict[str, str]:
    """Profile names and their addresses; empty where there is no file."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    _refuse_unknown(document, ["profiles"], str(path))
    profiles = document.get("profiles", {})
    if not isinstance(profiles, dict):
        raise ConfigError(f"{path}: profiles must be tables, as in [profiles.lab]")
    return {name: _read_profile(path, name, table) for name, table in profiles.items()}


def _read_profile(path: Path, name: str, table: object) -> str:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: profiles.{name} must be a table")
    _refuse_unknown(table, ["address"], f"{path}: profiles.{name}")
    address = table.get("address")
    if not isinstance(address, str) or not address:
        raise ConfigError(f'{path}: profiles.{name} needs address = "host:port"')
    return address


def _from_profile(path: Path, name: str, source: str) -> Target:
    profiles = read_profiles(path)
    if name not in profiles:
        raise ConfigError(f"no profile {name!r} in {path}{_nearest(name, list(profiles))}")
    return Target(address=profiles[name], source=f"{source} {name}")


def _refuse_unknown(table: Mapping[str, object], known: list[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}{_nearest(key, known)}")


def _nearest(word: str, known: list[str]) -> str:
    matches = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
