"""`espalier`: the root of the command line."""

from __future__ import annotations

from importlib import metadata

import click

from orchestrator.cli.config import config
from orchestrator.cli.decisions import decisions
from orchestrator.cli.devices import devices
from orchestrator.cli.exit_codes import EXIT_CODES
from orchestrator.cli.export import add_export
from orchestrator.cli.jobs import jobs
from orchestrator.cli.models import models
from orchestrator.cli.pareto import add_pareto
from orchestrator.cli.policies import policies
from orchestrator.cli.rollouts import rollouts
from orchestrator.cli.submit import add_submit
from orchestrator.cli.telemetry import telemetry
from orchestrator.cli.up import add_up

_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code.value:>3}  {meaning}" for code, meaning in EXIT_CODES.items())


def _version() -> str:
    try:
        return metadata.version("espalier-edge")
    except metadata.PackageNotFoundError:
        return "unknown (not installed)"


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), prog_name="espalier")
def main() -> None:
    """Train, compress and roll out models to edge devices, and keep them right.

    Results go to stdout, as tables or with --format json as JSON; progress and errors go to stderr.
    """


add_up(main)
add_submit(main)
add_pareto(models)
add_export(models)
for group in (jobs, models, devices, rollouts, policies, decisions, telemetry, config):
    main.add_command(group)

if __name__ == "__main__":
    main()
