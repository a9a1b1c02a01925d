"""Calls `module:callable` of the working directory and checks what comes back.

Runs in Ray workers only, where Ray has put the working directory on the import path. Whatever user code raises becomes
one `UserCodeError` that names the callable and the user's own line, since a traceback through Ray helps nobody.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from orchestrator.datasets import DatasetError, Splits
from orchestrator.jobs.errors import UserCodeError
from orchestrator.onnx.errors import OnnxError, OnnxMissingError

_OURS = Path(__file__).resolve().parents[2]
T = TypeVar("T")


def load_splits(entrypoint: str, arguments: Mapping[str, Any]) -> Splits:
    return _checked(entrypoint, _call(entrypoint, lambda load: load(**arguments)), Splits)


def build_network(entrypoint: str, *, seed: int) -> nn.Module:
    """A network as the user's callable makes it, with weights drawn from `seed`; or from an ONNX file, with its own."""
    if entrypoint.endswith(".onnx"):
        return _read_network(entrypoint)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _checked(entrypoint, _call(entrypoint, lambda build: build()), nn.Module)


def _read_network(file: str) -> nn.Module:
    from orchestrator.compression.from_onnx import load_network

    try:
        return load_network(Path(file)).train()
    except (OnnxError, OnnxMissingError) as error:
        raise UserCodeError(f"{file}: {error}") from error


def _call(entrypoint: str, use: Callable[[Any], Any]) -> Any:
    module_name, _, attribute = entrypoint.partition(":")
    try:
        target: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            target = getattr(target, part)
        return use(target)
    except DatasetError as error:
        raise UserCodeError(f"{entrypoint}: {error}") from error
    except Exception as error:
        raise UserCodeError(f"{entrypoint} failed with {type(error).__name__}: {error}{_where(error)}") from error


def _checked(entrypoint: str, value: object, wanted: type[T]) -> T:
    if not isinstance(value, wanted):
        raise UserCodeError(f"{entrypoint} returned {type(value).__name__}, not {wanted.__name__}")
    return value


def _where(error: Exception) -> str:
    """The innermost line that is neither ours nor a library's."""
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if not _is_installed(frame.filename)]
    return f" (at {Path(users[-1].filename).name}:{users[-1].lineno} in {users[-1].name})" if users else ""


def _is_installed(filename: str) -> bool:
    path = Path(filename)
    return path.is_relative_to(_OURS / "orchestrator") or "site-packages" in path.parts or filename.startswith("<")
