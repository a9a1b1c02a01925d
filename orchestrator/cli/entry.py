"""What the `espalier` script calls: a bare edge install has the script but not the packages it needs, and says so."""

from __future__ import annotations

import sys

ENVIRONMENT = 9  # ExitCode.ENVIRONMENT, which cannot be imported here yet


def main() -> None:
    try:
        from orchestrator.cli.main import main as command_line
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich", "yaml"):
            raise
        print(
            f"error: the command line needs {error.name}, which an edge install leaves out.\n"
            "Install the extra: pip install 'espalier-edge[cli]'",
            file=sys.stderr,
        )
        sys.exit(ENVIRONMENT)
    command_line()
