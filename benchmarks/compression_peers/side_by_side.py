"""Work whose time nobody judges, side by side: a process for each core, one thread in each.

Small networks gain little from a second thread, and students nothing. One thread also makes the networks that come out
independent of how many cores there are.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.queues import SimpleQueue
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
Found = TypeVar("Found")
Bench = TypeVar("Bench")
Say = Callable[[str], None]

_bench: Any  # of this worker process


def each(
    make: Callable[[Say], Bench],
    task: Callable[[Bench, Item], Found],
    items: Sequence[Item],
    *,
    processes: int,
    say: Say,
) -> Generator[Found, None, None]:
    """`task(bench, item)` for each of `items`, in their order; what a worker says is said here.

    Whoever wants no more closes it: what has not begun then is not done, and no worker is left.

    Args:
        make: gives every worker a bench of its own; like `task`, something that can be pickled.

    Raises:
        Whatever `task` raises.
    """
    spawning = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    messages: SimpleQueue[str | None] = spawning.SimpleQueue()
    teller = threading.Thread(target=_tell, args=(messages, say))
    teller.start()
    pool = ProcessPoolExecutor(min(processes, len(items)), spawning, _begin, (make, messages))
    try:
        yield from pool.map(_do, [task] * len(items), items)
    finally:
        pool.shutdown(cancel_futures=True)
        messages.put(None)
        teller.join()


def _tell(messages: SimpleQueue[str | None], say: Say) -> None:
    while (message := messages.get()) is not None:
        say(message)


def _begin(make: Callable[[Say], Any], messages: SimpleQueue[str | None]) -> None:
    global _bench
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the peers that it starts
    _bench = make(messages.put)


def _do(task: Callable[[Any, Item], Found], item: Item) -> Found:
    return task(_bench, item)
