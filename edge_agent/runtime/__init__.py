"""Runs compressed models: reads and validates the format, and computes with exact integers on whatever CPU is there.

Knows nothing of agents or networks, so that the cloud scores a candidate with the very engine that devices run.
"""

from edge_agent.runtime.engine import PATH_VARIABLE, Engine, available_paths, choose_path, load_model
from edge_agent.runtime.golden import check_golden, make_golden, parse_golden
from edge_agent.runtime.graph import BlobRef, Graph
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
