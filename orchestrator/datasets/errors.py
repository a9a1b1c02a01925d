"""Errors of the data layer.

DatasetError
├── DatasetUnavailableError  the files are nowhere to be found; the message names every way to get them
├── DatasetFormatError       files or arrays are not what they should be (digest, shape, dtype, labels)
└── LeakError                the same input is in two splits that must be disjoint
    ├── SplitRoleError       a split is given to somebody who must not see it
    └── CertifySpentError    `certify` was read for this model already
"""

from __future__ import annotations

from orchestrator.errors import OrchestratorError


class DatasetError(OrchestratorError):
    """Base of everything the data layer raises on purpose."""


class DatasetUnavailableError(DatasetError):
    """No place that was tried holds the files, and they could not be fetched."""


class DatasetFormatError(DatasetError):
    """A file or an array does not hold what it should."""


class LeakError(DatasetError):
    """Two splits share inputs, so a figure measured on one would flatter what was tuned on the other."""

    def __init__(self, first: str, second: str, shared: int) -> None:
        super().__init__(
            f"splits {first!r} and {second!r} share {shared} input(s); they must be disjoint. "
            "Remove duplicates before splitting."
        )
        self.first = first
        self.second = second
        self.shared = shared


class SplitRoleError(LeakError):
    """A split is given to somebody who must not see it."""

    def __init__(self, message: str) -> None:
        DatasetError.__init__(self, message)


class CertifySpentError(LeakError):
    """The certify split was read for this model already; what it said then is its certificate."""

    def __init__(self, message: str) -> None:
        DatasetError.__init__(self, message)
