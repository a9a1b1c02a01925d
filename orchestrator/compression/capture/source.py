"""Where in the user's code an exported operation comes from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import fx

from orchestrator.compression.errors import CaptureError

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)(?:\n\s+(?P<code>[^\n]+))?')
_TORCH = str(Path(torch.__file__).parent)


def source_line(node: fx.Node) -> str:
    """ "file:line in function: code" of the innermost frame that is not torch's own; empty where nothing is known."""
    frames = list(_FRAME.finditer(node.meta.get("stack_trace") or ""))
    users = [frame for frame in frames if not frame["file"].startswith(_TORCH)]
    if not users:
        return ""
    frame = users[-1]
    place = f"{frame['file']}:{frame['line']} in {frame['function']}"
    return f"{place}: {frame['code'].strip()}" if frame["code"] else place


def refuse(node: fx.Node, why: str) -> CaptureError:
    """The error for an operation that no device can run; for the caller to raise."""
    return CaptureError(f"{operation_name(node)} {why}", operation=operation_name(node), source=source_line(node))


def operation_name(node: fx.Node) -> str:
    target: Any = node.target
    return str(target) if node.op == "call_function" else f"{node.op} {target}"
