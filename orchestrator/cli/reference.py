"""docs/cli.md, made from the commands themselves; docs/generate.py writes it."""

from __future__ import annotations

from collections.abc import Iterator

import click

from orchestrator.cli.exit_codes import EXIT_CODES
from orchestrator.cli.main import main
from orchestrator.cli.profiles import DEFAULT_ADDRESS

_INTRODUCTION = f"""\
# The command line

Written by `make docs` from `--help`; a test holds it to the code.

Every command takes `--format json`: results are one JSON document on stdout (a watch: one line for each change),
progress and errors go to stderr. Ids and digests may be shortened to their beginning.

The address is the first of: `--address`, `--profile`, `ESPALIER_ADDRESS`, `ESPALIER_PROFILE`, the profile `default`,
and `{DEFAULT_ADDRESS}`. Profiles are in `config.toml` in `$ESPALIER_HOME` (default `~/.config/espalier`):

```toml
[profiles.lab]
address = "127.0.0.1:17444"
```

## Exit codes

| code | meaning |
| --- | --- |
"""


def render() -> str:
    """The whole page as Markdown."""
    codes = "".join(f"| {code.value} | {meaning} |\n" for code, meaning in EXIT_CODES.items())
    commands = "".join(
        f"\n## {path}\n\n```text\n{help_text}\n```\n"
        for path, help_text in _walk(main, click.Context(main, info_name="espalier"))
    )
    return _INTRODUCTION + codes + commands


def _walk(node: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    context.terminal_width = context.max_content_width = 100
    yield context.command_path, "\n".join(line.rstrip() for line in node.get_help(context).splitlines())
    if isinstance(node, click.Group):
        for name in node.list_commands(context):
            child = node.get_command(context, name)
            assert child is not None
            yield from _walk(child, click.Context(child, info_name=name, parent=context))
