"""Where in the user's code an exported operation comes from."""

from __future__ import annotations

import os
import re
import traceback
from pathlib import Path
from typing import Any

import torch
from torch import fx

from orchestrator.compression.errors import CaptureError

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)(?:\n\s+(?P<code>[^\n]+))?')
_TORCH = str(Path(torch.__file__).parent) + os.sep  # not torchvision, which lies next to it


def source_line(node: fx.Node) -> str:
    """ "file:line in function: code" of the innermost frame that is not torch's own, else the module it belongs to.

    Empty where nothing is known.
    """
    frames = list(_FRAME.finditer(node.meta.get("stack_trace") or ""))
    users = [frame for frame in frames if not frame["file"].startswith(_TORCH)]
    if not users:
        return _module(node)
    frame = users[-1]
    return _place(frame["file"], frame["line"], frame["function"], frame["code"])


def raised_at(error: Exception, caller: str) -> str:
    """The same place of an error that came through torch from the user's code; empty if only from file `caller`."""
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if not frame.filename.startswith((_TORCH, "<")) and frame.filename != caller]
    if not users:
        return ""
    frame = users[-1]
    return _place(frame.filename, frame.lineno, frame.name, frame.line)


def _place(file: str, line: int | str | None, function: str, code: str | None) -> str:
    place = f"{file}:{line} in {function}"
    return f"{place}: {code.strip()}" if code else place


def _module(node: fx.Node) -> str:
    """The innermost of torch's own modules, by its path in the user's network."""
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    if not modules:
        return ""
    path, kind = modules[-1]
    name = str(kind).rpartition(".")[2]
    return f"module '{path}' ({name})" if path else name


def refuse(node: fx.Node, why: str) -> CaptureError:
    """The error for an operation that no device can run; for the caller to raise."""
    return CaptureError(f"{operation_name(node)} {why}", operation=operation_name(node), source=source_line(node))


def operation_name(node: fx.Node) -> str:
    target: Any = node.target
    return str(target) if node.op == "call_function" else f"{node.op} {target}"
