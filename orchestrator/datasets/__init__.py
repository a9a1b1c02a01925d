"""Labelled images that examples and tests run on, and the split types that the whole heavy side shares.

numpy only: the demo's cameras and every test import this without torch. What turns a split into tensors is
`orchestrator.compression.data`.
"""

from orchestrator.datasets.errors import (
    CertifySpentError,
    DatasetError,
    DatasetFormatError,
    DatasetUnavailableError,
    LeakError,
    SplitRoleError,
)
from orchestrator.datasets.sealed import SealedSplit
from orchestrator.datasets.splits import Features, Role, Split, Splits, concatenate
from orchestrator.datasets.tables import Table

__all__ = [
    "CertifySpentError",
    "DatasetError",
    "DatasetFormatError",
    "DatasetUnavailableError",
    "Features",
    "LeakError",
    "Role",
    "SealedSplit",
    "Split",
    "SplitRoleError",
    "Splits",
    "Table",
    "concatenate",
]
