from __future__ import annotations

import json
import struct
from typing import Any

import pytest
import torch
from torch import nn

from orchestrator.compression.checkpoint import load_checkpoint, read_tensors, save_checkpoint
from orchestrator.compression.errors import CheckpointError
from tests.unit.compression.networks import Residual, small_network


def container(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(begin: int, end: int, **changes: Any) -> dict[str, Any]:
    return {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end], **changes}


def test_a_round_trip_keeps_parameters_and_statistics_and_gives_the_same_bytes() -> None:
    torch.manual_seed(0)
    source, target = Residual(), Residual()
    source.stem_norm.running_mean.normal_()
    data = save_checkpoint(source)
    load_checkpoint(target, data)
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, target.state_dict()[name]), name
    assert save_checkpoint(target) == data


def test_weights_of_another_network_are_refused_and_nothing_is_changed() -> None:
    network = small_network(8)
    before = save_checkpoint(network)
    with pytest.raises(CheckpointError, match="another network"):
        load_checkpoint(network, save_checkpoint(Residual()))
    with pytest.raises(CheckpointError, match="in the checkpoint"):
        load_checkpoint(network, save_checkpoint(small_network(4)))
    assert save_checkpoint(network) == before


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no checkpoint"),
        (b"\x80\x04pickle", "no checkpoint|header has"),
        (struct.pack("<Q", 1 << 60) + b"{}", "header has"),
        (container(b"{"), "not JSON"),
        (container(b"[" * 100_000), "not JSON"),
        (container([1]), "not an object"),
        (container({"w": 3}), "dtype, shape and data_offsets"),
        (container({"w": entry(0, 4, dtype="F8")}, bytes(4)), "unknown dtype"),
        (container({"w": entry(0, 4, dtype=["F32"])}, bytes(4)), "unknown dtype"),
        (container({"w": entry(0, 4, shape=[-4])}, bytes(4)), "sizes"),
        (container({"w": entry(0, 4, shape=[True] * 4)}, bytes(4)), "sizes"),
        (container({"w": entry(0, 4, shape=[1 << 39, 1 << 39])}, bytes(4)), "cannot hold"),
        (container({"w": entry(0, 1 << 39)}, bytes(4)), "the checkpoint holds 4"),
        (container({"w": entry(0, 4)}, bytes(8)), "the checkpoint holds 8"),
        (container({"v": entry(0, 4), "w": entry(2, 6)}, bytes(6)), "starts at byte 2"),
        (container({"v": entry(0, 2), "w": entry(4, 6)}, bytes(6)), "starts at byte 4"),
    ],
)
def test_hostile_bytes_end_in_one_typed_error(data: bytes, why: str) -> None:
    with pytest.raises(CheckpointError, match=why):
        read_tensors(data)


def test_every_truncation_of_a_checkpoint_is_refused() -> None:
    data = save_checkpoint(nn.Linear(3, 2))
    for length in range(len(data)):
        with pytest.raises(CheckpointError):
            read_tensors(data[:length])
