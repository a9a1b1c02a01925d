"""What the command line's exit codes mean. They are an API for scripts: added to, never changed.

`EXIT_CODES` is printed by `espalier --help` and into docs/cli.md, so the numbers have one home.
"""

from __future__ import annotations

from enum import IntEnum

from orchestrator import errors


class ExitCode(IntEnum):
    OK = 0
    FAILURE = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    REFUSED = 5
    CONFLICT = 6
    TIMEOUT = 7
    UNSUCCESSFUL = 8
    ENVIRONMENT = 9
    EXHAUSTED = 10
    INTERRUPTED = 130


EXIT_CODES: dict[ExitCode, str] = {
    ExitCode.OK: "done as asked",
    ExitCode.FAILURE: "a fault of the server or of the command line itself",
    ExitCode.USAGE: "the command line was used wrongly",
    ExitCode.UNREACHABLE: "no control plane answers at the address",
    ExitCode.NOT_FOUND: "nothing by that name or id",
    ExitCode.REFUSED: "a document or a value in it is malformed, or the caller may not do this",
    ExitCode.CONFLICT: "the state of what is addressed does not allow it",
    ExitCode.TIMEOUT: "no answer in time, or what was waited for has not ended yet",
    ExitCode.UNSUCCESSFUL: "what was waited for ended, but not well: failed, infeasible, cancelled, rolled back",
    ExitCode.ENVIRONMENT: "an extra is not installed, or a configuration file is wrong",
    ExitCode.EXHAUSTED: "the server is busy or full; try again later",
    ExitCode.INTERRUPTED: "interrupted from the keyboard",
}

# The first that fits, so the narrower types come before those they derive from.
_BY_ERROR: tuple[tuple[type[errors.OrchestratorError], ExitCode], ...] = (
    (errors.UnavailableError, ExitCode.UNREACHABLE),
    (errors.NotFoundError, ExitCode.NOT_FOUND),
    (errors.InvalidRequestError, ExitCode.REFUSED),
    (errors.UnauthenticatedError, ExitCode.REFUSED),
    (errors.ForbiddenError, ExitCode.REFUSED),
    (errors.ConflictError, ExitCode.CONFLICT),
    (errors.FencedError, ExitCode.CONFLICT),
    (errors.DeadlineError, ExitCode.TIMEOUT),
    (errors.ExhaustedError, ExitCode.EXHAUSTED),
    (errors.ConfigError, ExitCode.ENVIRONMENT),
)


def exit_code_of(error: errors.OrchestratorError) -> ExitCode:
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.FAILURE)
