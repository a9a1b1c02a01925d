"""Accuracies are shares of counted samples, kept as floats: they are compared as the counts would be."""

_ROUNDING = 1e-9  # far more than float64 loses in a difference, far less than one sample of any split


def is_below(accuracy: float, floor: float) -> bool:
    """Whether `accuracy` is below `floor` by more than rounding; 0.515 - 0.015 is no more than 0.5."""
    return accuracy < floor - _ROUNDING
