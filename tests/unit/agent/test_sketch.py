"""Laws of the latency sketch: stated error, exact merging, and refusal of anything malformed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import SketchError
from edge_agent.sketch import LARGEST, SMALLEST, LatencySketch
from protos import fleet_pb2

latencies = st.floats(min_value=SMALLEST, max_value=LARGEST)
any_latencies = st.floats(min_value=0, max_value=1e12)


def sketch_of(values: list[float], relative_error: float = 0.01) -> LatencySketch:
    sketch = LatencySketch(relative_error)
    for value in values:
        sketch.add(value)
    return sketch


def parts(sketch: LatencySketch) -> tuple[object, ...]:
    message = sketch.to_proto()
    return (list(message.bins), list(message.counts), message.zero_count, sketch.count, sketch.min, sketch.max)


@given(st.lists(latencies, min_size=1, max_size=200), st.floats(0, 1), st.sampled_from([0.005, 0.01, 0.05, 0.2]))
def test_a_quantile_is_within_the_relative_error_of_the_value_of_that_rank(values, q, relative_error):
    exact = sorted(values)[int(q * (len(values) - 1))]
    found = sketch_of(values, relative_error).quantile(q)
    assert abs(found - exact) <= relative_error * exact * (1 + 1e-9)


@given(st.lists(any_latencies, max_size=60), st.lists(any_latencies, max_size=60), st.lists(any_latencies, max_size=60))
def test_merging_is_associative_commutative_and_equal_to_adding_everything_to_one(a, b, c):
    left = sketch_of(a)
    left.merge(sketch_of(b))
    left.merge(sketch_of(c))
    right = sketch_of(c)
    inner = sketch_of(b)
    inner.merge(sketch_of(a))
    right.merge(inner)
    whole = sketch_of(a + b + c)
    assert parts(left) == parts(right) == parts(whole)
    assert math.isclose(left.sum, whole.sum, rel_tol=1e-9, abs_tol=1e-9)


@given(st.lists(any_latencies, max_size=100))
def test_a_sketch_survives_the_wire(values):
    sketch = sketch_of(values)
    again = LatencySketch.from_proto(fleet_pb2.Sketch.FromString(sketch.to_proto().SerializeToString()))
    assert parts(again) == parts(sketch)
    assert again.sum == sketch.sum


@given(any_latencies, st.integers(1, 1000))
def test_adding_with_a_count_is_adding_so_often(value, count):
    once = LatencySketch()
    once.add(value, count)
    assert parts(once) == parts(sketch_of([value] * count))


@given(st.lists(any_latencies, max_size=300))
def test_bins_are_bounded_whatever_is_added(values):
    assert len(sketch_of(values, 0.005).to_proto().bins) <= 2800


@given(st.lists(latencies, min_size=1, max_size=100), latencies)
def test_count_above_is_exact_but_for_the_relative_error(values, bound):
    found = sketch_of(values).count_above(bound)
    assert sum(value > bound * 1.0203 for value in values) <= found <= sum(value > bound for value in values)


def test_merging_a_sketch_with_itself_doubles_it():
    sketch = sketch_of([1.0, 2.0, 3.0])
    sketch.merge(sketch)
    assert sketch.count == 6
    assert sketch.sum == 12.0


def test_an_empty_sketch_has_no_quantile():
    assert LatencySketch().quantile(0.5) is None
    assert LatencySketch.from_proto(fleet_pb2.Sketch()).count == 0


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_impossible_latencies_are_refused(value):
    with pytest.raises(ValueError, match="finite"):
        LatencySketch().add(value)


def test_sketches_of_different_errors_do_not_merge():
    with pytest.raises(SketchError, match="relative error"):
        LatencySketch(0.01).merge(LatencySketch(0.02))


MALFORMED = {
    "unsorted bins": {"bins": [5, -1], "counts": [1, 1]},
    "repeated bins": {"bins": [5, 0], "counts": [1, 1]},
    "fewer counts than bins": {"bins": [1, 1], "counts": [1]},
    "an empty bin": {"bins": [1, 1], "counts": [1, 0]},
    "a bin far outside": {"bins": [2_000_000_000], "counts": [1]},
    "a huge count": {"bins": [10], "counts": [1 << 63]},
    "an infinite sum": {"sum": math.inf},
    "a sum that is not a number": {"sum": math.nan},
    "a negative minimum": {"min": -1.0},
    "a minimum above the maximum": {"min": 20.0, "max": 10.0},
    "a sum below count times minimum": {"sum": 0.5},
    "a maximum outside the bins": {"max": 500.0, "sum": 510.0},
    "no relative error": {"relative_error": 0.0},
    "an absurd relative error": {"relative_error": math.nan},
    "zeros without a zero count": {"min": 0.0},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_sketch_is_refused(name):
    message = sketch_of([10.0, 11.0]).to_proto()
    for field, value in MALFORMED[name].items():
        if isinstance(value, list):
            del getattr(message, field)[:]
            getattr(message, field).extend(value)
        else:
            setattr(message, field, value)
    with pytest.raises(SketchError):
        LatencySketch.from_proto(message)


def test_more_bins_than_the_range_has_are_refused():
    message = fleet_pb2.Sketch(relative_error=0.01, bins=[1] * 100_000, counts=[1] * 100_000)
    with pytest.raises(SketchError, match="outside"):
        LatencySketch.from_proto(message)


@given(st.binary(max_size=200))
def test_random_bytes_are_a_sketch_or_a_sketch_error(data):
    try:
        message = fleet_pb2.Sketch.FromString(data)
    except Exception:
        return
    try:
        LatencySketch.from_proto(message)
    except SketchError:
        return
