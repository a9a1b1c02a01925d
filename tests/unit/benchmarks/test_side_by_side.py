"""Work that the compression benchmark gives to processes of one thread each: real processes, and a bench of little."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable

import pytest
import torch
from compression_peers import side_by_side

Say = Callable[[str], None]


def make(say: Say) -> Say:
    """What stands for a bench here."""
    return say


def doubled(say: Say, number: int) -> tuple[int, int]:
    if number < 0:
        raise ValueError(f"{number} is below zero")
    say(f"doubling {number}")
    return 2 * number, torch.get_num_threads()


def test_every_item_is_done_with_one_thread_in_order_and_what_workers_say_is_heard() -> None:
    heard: list[str] = []
    found = list(side_by_side.each(make, doubled, [3, 1, 2], processes=2, say=heard.append))
    assert found == [(6, 1), (2, 1), (4, 1)]
    assert sorted(heard) == ["doubling 1", "doubling 2", "doubling 3"]


def test_what_a_worker_raises_is_raised_here() -> None:
    with pytest.raises(ValueError, match="-1 is below zero"):
        list(side_by_side.each(make, doubled, [1, -1], processes=2, say=lambda message: None))


def test_whoever_wants_no_more_leaves_no_worker_and_no_work() -> None:
    found = side_by_side.each(make, doubled, list(range(1000)), processes=2, say=lambda message: None)
    assert next(found)[0] == 0
    found.close()
    assert not multiprocessing.active_children()
