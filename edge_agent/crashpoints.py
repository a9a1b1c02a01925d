"""Named points at which a test may end the process, to hold the agent to its promise that any of them can be survived.

In production `reach` does nothing: no hook is ever installed, and no environment variable can install one.
"""

from __future__ import annotations

from collections.abc import Callable

POINTS = (
    "journal-written",
    "journal-renamed",
    "part-written",
    "blob-verified",
    "blob-renamed",
    "verified",
    "before-promote",
    "promoted",
    "report-sent",
    "spool-appended",
    "telemetry-pushed",
    "cursor-written",
)

_hook: Callable[[str], None] | None = None


def install(hook: Callable[[str], None] | None) -> None:
    """Call `hook` with the name of every point reached from now on; None removes it."""
    global _hook
    _hook = hook


def reach(point: str) -> None:
    if _hook is not None:
        assert point in POINTS, point
        _hook(point)
