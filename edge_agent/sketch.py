"""A mergeable quantile sketch of latencies with a stated relative error, for the device and for the cloud.

Values fall into bins whose bounds grow by a factor: bin i holds (gamma^(i-1), gamma^i] with gamma = (1 + a) / (1 - a),
and is read back as the point whose relative distance to both bounds is a (Masson et al. 2019, arXiv:1908.10693). Unlike
that paper's sketch, this one never collapses bins: values below SMALLEST count as zero and values above LARGEST share
the top bin, so the number of bins is bounded by construction and merging is exactly associative and commutative. Any
unit will do; the field's name states it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from edge_agent.errors import SketchError
from protos import fleet_pb2

SMALLEST = 1e-3
"""Values below this count as zero: a nanosecond, where the unit is microseconds."""
LARGEST = 1e9
"""Values above this share the top bin: a thousand seconds, where the unit is microseconds."""
FINEST_RELATIVE_ERROR = 0.005
COARSEST_RELATIVE_ERROR = 0.2
COUNT_LIMIT = 1 << 53
"""No sketch counts more: above it a count is no longer exact as a float."""


class LatencySketch:
    """Counts of non-negative values; quantiles within `relative_error` of an observed value."""

    __slots__ = ("_bins", "_gamma", "_log_gamma", "_zero_count", "count", "max", "min", "relative_error", "sum")

    def __init__(self, relative_error: float = 0.01) -> None:
        if not FINEST_RELATIVE_ERROR <= relative_error <= COARSEST_RELATIVE_ERROR:
            raise ValueError(
                f"relative_error {relative_error} is not within [{FINEST_RELATIVE_ERROR}, {COARSEST_RELATIVE_ERROR}]"
            )
        self.relative_error = relative_error
        self._gamma = (1 + relative_error) / (1 - relative_error)
        self._log_gamma = math.log(self._gamma)
        self._bins: dict[int, int] = {}
        self._zero_count = 0
        self.count = 0
        self.sum = 0.0
        self.min = 0.0
        """Exact; 0.0 while empty."""
        self.max = 0.0
        """Exact; 0.0 while empty."""

    def add(self, value: float, count: int = 1) -> None:
        """Count `value` `count` times.

        Raises:
            ValueError: the value is negative or not finite, or the count is not positive.
        """
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"a latency must be finite and not negative, not {value}")
        if count < 1 or self.count + count > COUNT_LIMIT:
            raise ValueError(f"a count must be positive and the total at most 2^53, not {count}")
        if value < SMALLEST:
            self._zero_count += count
        else:
            index = self._index(value)
            self._bins[index] = self._bins.get(index, 0) + count
        self._extend(count, value * count, value, value)

    def merge(self, other: LatencySketch) -> None:
        """Add everything `other` counted.

        Raises:
            SketchError: the two have different relative errors, so their bins mean different values.
        """
        if other.relative_error != self.relative_error:
            raise SketchError(
                f"cannot merge sketches of relative error {self.relative_error} and {other.relative_error}"
            )
        if self.count + other.count > COUNT_LIMIT:
            raise SketchError("the merged sketch would count more than 2^53 values")
        if other.count == 0:
            return
        for index, count in list(other._bins.items()):
            self._bins[index] = self._bins.get(index, 0) + count
        self._zero_count += other._zero_count
        self._extend(other.count, other.sum, other.min, other.max)

    def quantile(self, q: float) -> float | None:
        """The value of rank floor(q * (count - 1)), within the relative error; None while empty.

        Raises:
            ValueError: q is not within [0, 1].
        """
        if not 0 <= q <= 1:
            raise ValueError(f"a quantile is within [0, 1], not {q}")
        if self.count == 0:
            return None
        seen = self._zero_count
        rank = int(q * (self.count - 1))
        if rank < seen:
            return self.min
        for index in sorted(self._bins):
            seen += self._bins[index]
            if rank < seen:
                return min(max(self._value(index), self.min), self.max)
        return self.max

    def count_above(self, value: float) -> int:
        """How many values lie in bins wholly above that of `value`: those above it but for the relative error."""
        if value < SMALLEST:
            return self.count - self._zero_count
        bound = self._index(value)
        return sum(count for index, count in self._bins.items() if index > bound)

    def to_proto(self) -> fleet_pb2.Sketch:
        indices = sorted(self._bins)
        return fleet_pb2.Sketch(
            relative_error=self.relative_error,
            zero_count=self._zero_count,
            bins=[index - before for index, before in zip(indices, [0, *indices], strict=False)],
            counts=[self._bins[index] for index in indices],
            sum=self.sum,
            min=self.min,
            max=self.max,
        )

    @classmethod
    def from_proto(cls, message: fleet_pb2.Sketch) -> LatencySketch:
        """Read a sketch that somebody else wrote; a message without a relative error is an empty sketch.

        Raises:
            SketchError: it is malformed or contradicts itself.
        """
        if message == fleet_pb2.Sketch():
            return cls()
        try:
            sketch = cls(message.relative_error)
        except ValueError as error:
            raise SketchError(str(error)) from None
        sketch._fill_bins(message.bins, message.counts)
        sketch._zero_count = message.zero_count
        sketch.count = message.zero_count + sum(sketch._bins.values())
        sketch.sum, sketch.min, sketch.max = message.sum, message.min, message.max
        sketch._check_totals()
        return sketch

    def _extend(self, count: int, total: float, smallest: float, largest: float) -> None:
        self.min = smallest if self.count == 0 else min(self.min, smallest)
        self.max = largest if self.count == 0 else max(self.max, largest)
        self.count += count
        self.sum += total

    def _index(self, value: float) -> int:
        return math.ceil(math.log(min(value, LARGEST)) / self._log_gamma)

    def _value(self, index: int) -> float:
        return 2 * math.exp(index * self._log_gamma) / (self._gamma + 1)

    def _fill_bins(self, differences: Iterable[int], counts: Iterable[int]) -> None:
        lowest, highest = self._index(SMALLEST) - 1, self._index(LARGEST) + 1
        index = None
        try:
            for difference, count in zip(differences, counts, strict=True):
                if index is not None and difference < 1:
                    raise SketchError("bins are not in ascending order")
                index = difference if index is None else index + difference
                if not lowest <= index <= highest:
                    raise SketchError(f"bin {index} is outside [{lowest}, {highest}]")
                if count == 0:
                    raise SketchError(f"bin {index} is empty")
                self._bins[index] = count
        except ValueError:
            raise SketchError("bins and counts differ in number") from None

    def _check_totals(self) -> None:
        """Hold count, sum, min and max against the bins; one bin of slack, since libraries round logarithms apart."""
        totals = (self.sum, self.min, self.max)
        if self.count > COUNT_LIMIT:
            raise SketchError("the sketch counts more than 2^53 values")
        if not all(math.isfinite(value) and value >= 0 for value in totals):
            raise SketchError("sum, min and max must be finite and not negative")
        if self.count == 0:
            if any(totals):
                raise SketchError("an empty sketch has a sum, a min or a max")
            return
        slack = 1e-6 * self.count * self.max
        if not (self.min <= self.max and self.min * self.count - slack <= self.sum <= self.max * self.count + slack):
            raise SketchError("sum, min and max contradict each other")
        if (self.min < SMALLEST) != (self._zero_count > 0):
            raise SketchError("min contradicts the zero count")
        lowest = None if self._zero_count else min(self._bins)
        highest = max(self._bins, default=None)
        if (lowest is not None and abs(self._index(self.min) - lowest) > 1) or (
            highest is not None and abs(self._index(max(self.max, SMALLEST)) - highest) > 1
        ):
            raise SketchError("min or max lies outside the bins")
