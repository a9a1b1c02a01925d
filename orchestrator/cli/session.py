"""What every command shares: the options for address and format, the client, and errors turned into exit codes.

A command body is a coroutine that takes a `Session`; `command` makes it a click command. Nothing else here or in the
groups catches an error: it travels to `_run`, which prints it once and says what to do where that is known.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import click

from orchestrator.cli.exit_codes import ExitCode, exit_code_of
from orchestrator.cli.output import Output
from orchestrator.cli.profiles import Target, resolve_target
from orchestrator.client import Client
from orchestrator.errors import OrchestratorError, UnavailableError
from orchestrator.spec.errors import SpecError


class CommandError(Exception):
    """A command cannot go on, for a reason that is its own; carries the exit code."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Session:
    """One run of one command: how it speaks and whom it talks to."""

    def __init__(self, output: Output, target: Target) -> None:
        self.output = output
        self.target = target
        self.client = Client(target.address)


_ADDRESS = click.option("--address", metavar="HOST:PORT", help="Operator port to talk to. [env: ESPALIER_ADDRESS]")
_PROFILE = click.option("--profile", metavar="NAME", help="Named control plane in config.toml. [env: ESPALIER_PROFILE]")
_FORMAT = click.option(
    "--format",
    "format_name",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How results are printed on stdout.",
)

Body = Callable[..., Coroutine[Any, Any, None]]


def command(group: click.Group, name: str, *, is_local: bool = False) -> Callable[[Body], click.Command]:
    """Make a coroutine `body(session, **options)` a command of `group`, with the options that all share.

    A local command calls no control plane that is there already, so it takes no address.
    """

    def decorate(body: Body) -> click.Command:
        @functools.wraps(body)
        def run(format_name: str, address: str | None = None, profile: str | None = None, **options: Any) -> None:
            output = Output(format_name)
            sys.exit(_run(output, lambda: _with_session(body, output, address, profile, options)))

        function = _FORMAT(run)
        if not is_local:
            function = _ADDRESS(_PROFILE(function))
        return group.command(name)(function)

    return decorate


async def _with_session(
    body: Body, output: Output, address: str | None, profile: str | None, options: dict[str, Any]
) -> None:
    session = Session(output, resolve_target(address, profile, os.environ))
    try:
        await body(session, **options)
    except UnavailableError as error:
        raise CommandError(
            f"no control plane answers at {session.target.address} ({session.target.source}). "
            f"Start one with `espalier up`, or name another with --address or --profile.\n({error})",
            ExitCode.UNREACHABLE,
        ) from error
    finally:
        await session.client.close()


def _run(output: Output, main: Callable[[], Awaitable[None]]) -> ExitCode:
    try:
        asyncio.run(main())  # type: ignore[arg-type]
    except CommandError as error:
        output.error(str(error), error.exit_code)
        return error.exit_code
    except SpecError as error:
        output.error(str(error), ExitCode.REFUSED)
        return ExitCode.REFUSED
    except OrchestratorError as error:
        output.error(str(error), exit_code_of(error))
        return exit_code_of(error)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `| head` has seen enough
        return ExitCode.OK
    return ExitCode.OK
