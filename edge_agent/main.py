"""Command line of the agent: `espalier-agent run` and `espalier-agent check`. Reads configuration, sets up logging."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import ConfigError, EspalierError

if TYPE_CHECKING:
    from edge_agent.config import AgentConfig

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CONFIG = 3
EXIT_CHECK = 4

_FLAGS = {
    "device_id": ("device.id", "name of this device"),
    "device_class": ("device.device_class", "class of this device"),
    "state_dir": ("device.state_dir", "folder for models, journal and spools"),
    "control_plane": ("control_plane.address", "host:port of the control plane's service for agents"),
    "listen": ("serving.listen", "host:port on loopback, or unix:PATH, for applications"),
    "engine_path": ("engine.path", "engine path to force"),
    "log_level": ("logging.level", "DEBUG, INFO, WARNING or ERROR"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    try:
        config = _config(options)
        if options.command == "check":
            from edge_agent.check import run_check

            return EXIT_OK if run_check(config, as_json=options.format == "json") else EXIT_CHECK
        return _run(config)
    except ConfigError as error:
        print(f"espalier-agent: {error}", file=sys.stderr)
        return EXIT_CONFIG
    except (EspalierError, OSError) as error:
        print(f"espalier-agent: {error}", file=sys.stderr)
        return EXIT_FAILED


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="espalier-agent",
        description="Runs compressed models on this device for local applications and keeps them up to date.",
        epilog="exit codes: 0 ok, 1 failed, 2 usage, 3 configuration, 4 a check failed",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the agent until it is told to stop")
    check = commands.add_parser(
        "check", help="say whether this device is ready: CPU, engine, configuration, control plane"
    )
    check.add_argument("--format", choices=("text", "json"), default="text")
    for command in (run, check):
        command.add_argument("--config", type=Path, metavar="FILE", help="TOML file, such as deploy/agent.toml")
        for name, (key, meaning) in _FLAGS.items():
            command.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE", help=f"{meaning} ({key})")
        command.add_argument(
            "--insecure", action="store_true", help="allow addresses beyond this machine; nothing is encrypted yet"
        )
        command.add_argument(
            "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="any other configuration key"
        )
    return parser


def _config(options: argparse.Namespace) -> AgentConfig:
    from edge_agent.config import load_config

    flags = {key: getattr(options, name) for name, (key, _) in _FLAGS.items() if getattr(options, name) is not None}
    for setting in options.set:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set wants SECTION.KEY=VALUE, not {setting!r}")
        flags[key] = value
    if options.insecure:
        flags |= {"control_plane.insecure": "true", "serving.insecure": "true"}
    return load_config(options.config, os.environ, flags)


def _run(config: AgentConfig) -> int:
    from edge_agent.logs import configure_logging

    configure_logging(config.logging)
    import asyncio

    asyncio.run(_serve(config))
    return EXIT_OK


async def _serve(config: AgentConfig) -> None:
    """Run an agent until SIGTERM or SIGINT."""
    import asyncio
    import signal

    from edge_agent.agent import Agent

    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    agent = Agent(config)
    await agent.start()
    await stop.wait()
    await agent.stop()


if __name__ == "__main__":
    sys.exit(main())
