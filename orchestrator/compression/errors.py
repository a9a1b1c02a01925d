"""Errors of the compression pipeline, split by what has to change.

CompressionError
├── DataError             samples: none, or not what the network takes
├── PreprocessingError    mean and std do not fit the images
├── TrainingError         training diverged, or was asked for the impossible
├── CaptureError          the network holds what cannot run on a device; says what and on which line
├── WeightError           weights or statistics are not finite, or a layer is dead
├── QuantizationError     the recipe cannot work on this network
│   ├── InfeasibleError   it would ruin the network; names the nearest plan that does not
│   └── BudgetError       not even the smallest choice fits the budget
├── AccuracyLostError     the result lost more accuracy than was allowed
├── PruningError          channels cannot be removed as asked
├── FidelityError         rules do not follow their teacher, or lose too much in front of a network
├── RecipeError           a stored recipe is malformed or from a newer version
└── CheckpointError       checkpoint bytes are malformed or belong to another network

Data that leaks between splits is `orchestrator.datasets.LeakError`.
"""

from __future__ import annotations

from orchestrator.errors import OrchestratorError


class CompressionError(OrchestratorError):
    """Base of everything compression raises on purpose."""


class DataError(CompressionError):
    """There are no samples, or they are not what the network takes."""


class PreprocessingError(CompressionError):
    """Mean and standard deviation do not fit the images."""


class TrainingError(CompressionError):
    """Training diverged or cannot start."""


class CaptureError(CompressionError):
    """The network holds something that cannot run on a device.

    `operation` is PyTorch's name for it, `source` the user's line ("file:line in function: code") where it is known.
    """

    def __init__(self, message: str, *, operation: str = "", source: str = "") -> None:
        super().__init__(f"{message} (at {source})" if source else message)
        self.operation = operation
        self.source = source


class WeightError(CompressionError):
    """Weights or batch norm statistics are not finite, or a layer's output never changes."""


class QuantizationError(CompressionError):
    """The recipe cannot work on this network; the message names what can."""


class InfeasibleError(QuantizationError):
    """The recipe would ruin this network; `nearest` is a plan that would not, in words."""

    def __init__(self, message: str, *, nearest: str = "") -> None:
        super().__init__(f"{message}; nearest feasible plan: {nearest}" if nearest else message)
        self.nearest = nearest


class BudgetError(QuantizationError):
    """Not even the smallest choice fits the budget; `least` is what it takes, in the budget's unit."""

    def __init__(self, message: str, *, least: int = 0) -> None:
        super().__init__(message)
        self.least = least


class AccuracyLostError(CompressionError):
    """The model is further below its float network than was allowed; `drop` and `allowed` are shares of answers."""

    def __init__(self, message: str, *, drop: float = 0.0, allowed: float = 0.0) -> None:
        super().__init__(message)
        self.drop = drop
        self.allowed = allowed


class PruningError(CompressionError):
    """Channels cannot be removed as asked."""


class FidelityError(CompressionError):
    """Rules follow their teacher less than was asked; `fidelity` and `floor` are shares from 0 to 1."""

    def __init__(self, message: str, *, fidelity: float, floor: float) -> None:
        super().__init__(message)
        self.fidelity = fidelity
        self.floor = floor


class RecipeError(CompressionError):
    """A recipe is malformed, or of a version that this code does not know."""


class CheckpointError(CompressionError):
    """Bytes are not a checkpoint, or one of another network."""
