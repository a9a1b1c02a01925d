"""Runs compressed models: reads and validates the format, and computes with exact integers on whatever CPU is there.

Knows nothing of agents or networks, so that the cloud scores a candidate with the very engine that devices run.
"""

from __future__ import annotations

from edge_agent.runtime.engine import PATH_VARIABLE, available_paths, choose_path, load_model

TYPE_CHECKING = False  # importing it from typing would cost as much as the whole engine
if TYPE_CHECKING:
    from edge_agent.runtime.golden import check_golden, make_golden, parse_golden
    from edge_agent.runtime.graph import BlobRef, Graph
    from edge_agent.runtime.interface import Engine
    from edge_agent.runtime.model import parse_model

__all__ = [
    "PATH_VARIABLE",
    "BlobRef",
    "Engine",
    "Graph",
    "available_paths",
    "check_golden",
    "choose_path",
    "load_model",
    "make_golden",
    "parse_golden",
    "parse_model",
]

# What loading and running a model does not need, by the module that has it: importing protobuf and dataclasses takes
# longer than loading a model.
_LATER = {
    "BlobRef": "graph",
    "Engine": "interface",
    "Graph": "graph",
    "check_golden": "golden",
    "make_golden": "golden",
    "parse_golden": "golden",
    "parse_model": "model",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    return value
