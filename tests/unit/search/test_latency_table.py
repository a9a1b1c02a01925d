"""A table adds operators up, takes other bits where it must, and its keys tell apart what takes another time."""

from __future__ import annotations

import dataclasses

import pytest

from edge_agent.runtime.model import parse_model
from orchestrator.search.latency import LatencyTable, MissingEntryError, OperatorTimes, signatures
from tests.models import resnet8


def test_a_model_takes_the_sum_of_its_operators_and_what_a_call_costs() -> None:
    first = OperatorTimes(("input 4", "A 4 -> 4"), (1.0, 10.0), 13.0)
    second = OperatorTimes(("input 4", "B 4 -> 2", "A 4 -> 4"), (1.0, 5.0, 12.0), 20.0)
    table = LatencyTable.of([first, second])
    assert table.overhead_us == 2.0
    assert table.predict_us(("input 4", "A 4 -> 4", "A 4 -> 4", "B 4 -> 2")) == 2.0 + 1.0 + 11.0 + 11.0 + 5.0


def test_bits_that_were_never_measured_count_as_others_and_shapes_that_were_not_are_missing() -> None:
    keys = ("Linear 8 -> 4 weight 4x8@8 multiply", "Linear 8 -> 4 weight 4x8@4 shift")
    table = LatencyTable.of([OperatorTimes(keys, (6.0, 8.0), 14.0)])
    assert table.entry_us("Linear 8 -> 4 weight 4x8@3 multiply") == 7.0
    with pytest.raises(MissingEntryError):
        table.entry_us("Linear 9 -> 4 weight 4x9@8 multiply")


def test_shares_of_blocks_that_were_never_measured_count_as_the_nearest() -> None:
    keys = ("Linear 64 -> 64 weight 64x64@8 multiply", "Linear 64 -> 64 weight 64x64/4~0.40@8 multiply")
    table = LatencyTable.of([OperatorTimes(keys, (10.0, 4.0), 14.0)])
    assert table.entry_us("Linear 64 -> 64 weight 64x64/4~0.35@2 shift") == 4.0
    assert table.entry_us("Linear 64 -> 64 weight 64x64/8~0.90@8 multiply") == 10.0
    assert table.entry_us("Linear 64 -> 64 weight 64x64@4 multiply") == 10.0


def test_times_that_do_not_match_the_operators_or_no_times_make_no_table() -> None:
    with pytest.raises(ValueError, match="2 times for 1"):
        LatencyTable.of([OperatorTimes(("a",), (1.0, 2.0), 3.0)])
    with pytest.raises(ValueError, match="at least one"):
        LatencyTable.of([])


def test_a_signature_changes_with_shape_bits_and_blocks_and_not_with_where_a_tensor_stands() -> None:
    graph = parse_model(resnet8().data)
    keys = signatures(graph)
    assert keys[0] == "input " + "x".join(map(str, graph.input_activation.shape))
    assert "Conv2D" in keys[1]
    assert "@8 kernel_h" in keys[1]
    assert keys[1].endswith("groups 1 multiply")
    weight = graph.operators[0].kind.weight  # type: ignore[union-attr]

    def with_weight(**changes: int) -> str:
        tensors = list(graph.tensors)
        tensors[weight] = dataclasses.replace(tensors[weight], **changes)
        return signatures(dataclasses.replace(graph, tensors=tuple(tensors)))[1]

    assert with_weight(name="other") == keys[1]  # type: ignore[arg-type]
    assert with_weight(bits=4) == keys[1].replace("@8", "@4")
    sparse = {with_weight(block_rows=4, blocks=blocks) for blocks in range(1, 37)}
    assert 5 < len(sparse) < 36
    assert keys[1] not in sparse
