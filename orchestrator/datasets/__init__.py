"""Labelled images that examples and tests run on, and the split types that the whole heavy side shares.

numpy only: the demo's cameras and every test import this without torch. What turns a split into tensors is
`orchestrator.compression.data`.
"""

from orchestrator.datasets.errors import DatasetError, DatasetFormatError, DatasetUnavailableError, LeakError
from orchestrator.datasets.splits import Split, Splits

__all__ = ["DatasetError", "DatasetFormatError", "DatasetUnavailableError", "LeakError", "Split", "Splits"]
