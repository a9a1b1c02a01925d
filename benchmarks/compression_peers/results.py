"""What the methods made of the networks, and the paired statistics over all of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

FP32 = "fp32"
FP32_ROW = 0
TWO_SIDED_95 = 1.96


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """One method on one network under one seed.

    Attributes:
        correct: bool [N] over the test images in one order, so that any two outcomes can be paired.
        corrupted: accuracy (0..1) under each corruption, by its stated name.
        size_bytes: what is stored; 0 where a peer only simulates.
        seconds, cpu_seconds: of compressing, fine-tuning included.
        latency_us: median of our engine, one thread; 0 for peers.
        macs: of one inference; 0 where it is the network's own.
        error: why there is no result; everything else is then empty.
    """

    row: int
    network: str
    seed: int
    method: str
    correct: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool))
    corrupted: dict[str, float] = field(default_factory=dict)
    size_bytes: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    latency_us: float = 0.0
    macs: int = 0
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Any other number that a row measures; `label` is unique within the row."""

    row: int
    label: str
    value: float
    unit: str = ""


class Results:
    """Everything that was measured; accuracies and their differences in points (hundredths)."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.figures: list[Figure] = []
        self.failures: dict[int, str] = {}  # row to what broke it
        self.measured_at: dict[int, str] = {}  # row to when, where that was in an earlier run

    def add(self, result: Outcome | Figure) -> None:
        if isinstance(result, Outcome):
            self.outcomes.append(result)
        else:
            self.figures.append(result)

    def figure(self, row: int, label: str) -> float:
        """NaN where it was not measured."""
        return next((f.value for f in self.figures if (f.row, f.label) == (row, label)), float("nan"))

    def find(self, row: int, network: str, method: str) -> list[Outcome]:
        """By seed; those that failed left out."""
        return [o for o in self.outcomes if (o.row, o.network, o.method) == (row, network, method) and not o.error]

    def methods(self, row: int, network: str) -> Iterator[str]:
        """In the order in which they came."""
        yield from dict.fromkeys(o.method for o in self.outcomes if (o.row, o.network) == (row, network))

    def accuracy(self, row: int, network: str, method: str) -> float:
        """Mean over seeds; NaN where there is no result."""
        found = self.find(row, network, method)
        return 100 * float(np.mean([o.correct.mean() for o in found])) if found else float("nan")

    def spread(self, row: int, network: str, method: str) -> float:
        """Standard deviation over seeds; 0 for a single one."""
        found = self.find(row, network, method)
        return 100 * float(np.std([o.correct.mean() for o in found], ddof=1)) if len(found) > 1 else 0.0

    def corrupted(self, row: int, network: str, method: str) -> dict[str, float]:
        """Mean accuracy in percent under each corruption."""
        found = [o.corrupted for o in self.find(row, network, method) if o.corrupted]
        return {name: 100 * float(np.mean([c[name] for c in found])) for name in (found[0] if found else ())}

    def drop(self, row: int, network: str, method: str) -> tuple[float, float]:
        """Points lost against fp32 of the same seed, and the paired standard error; infinite without a result."""
        fp32 = {o.seed: o for o in self.find(FP32_ROW, network, FP32)}
        pairs = [(fp32[o.seed], o) for o in self.find(row, network, method) if o.seed in fp32]
        return paired(pairs) if pairs else (float("inf"), float("inf"))

    def lost(self, row: int, network: str, method: str) -> float:
        return self.drop(row, network, method)[0]

    def slowest(self, row: int, network: str, method: str) -> float:
        """Seconds; infinite without a result."""
        return max((o.seconds for o in self.find(row, network, method)), default=float("inf"))

    def largest(self, row: int, network: str, method: str) -> float:
        """Bytes; infinite without a result."""
        return max((o.size_bytes for o in self.find(row, network, method)), default=float("inf"))

    def lead(self, row: int, network: str, method: str, over: str) -> tuple[float, float]:
        """Points by which `method` leads `over` on equal seeds and samples, and the standard error; NaN without both.

        Seeds and samples weigh the same: the error is that of the mean over all pairs.
        """
        others = {o.seed: o for o in self.find(row, network, over)}
        pairs = [(o, others[o.seed]) for o in self.find(row, network, method) if o.seed in others]
        return paired(pairs) if pairs else (float("nan"), float("nan"))

    def gains(self, row: int, network: str, method: str, *, over: str) -> list[float]:
        """Points by which `method` leads `over`, for each seed that both have."""
        others = {o.seed: o for o in self.find(row, network, over)}
        pairs = [(o, others[o.seed]) for o in self.find(row, network, method) if o.seed in others]
        return [100 * float(a.correct.mean() - b.correct.mean()) for a, b in pairs]


def paired(pairs: list[tuple[Outcome, Outcome]]) -> tuple[float, float]:
    """Mean lead of the first over the second in points, and its standard error over all samples of all pairs."""
    difference = np.concatenate([a.correct.astype(float) - b.correct for a, b in pairs])
    return 100 * float(difference.mean()), 100 * float(difference.std(ddof=1) / np.sqrt(len(difference)))


def lower_bound_95(gains: list[float]) -> float:
    """One-sided 95 % lower confidence bound on the mean of a few paired gains, by Student's t; NaN below two."""
    t_95 = {1: 6.314, 2: 2.920, 3: 2.353, 4: 2.132, 5: 2.015, 6: 1.943, 7: 1.895, 8: 1.860, 9: 1.833}
    freedom = len(gains) - 1
    if freedom not in t_95:
        return float("nan")
    return float(np.mean(gains) - t_95[freedom] * np.std(gains, ddof=1) / np.sqrt(len(gains)))
