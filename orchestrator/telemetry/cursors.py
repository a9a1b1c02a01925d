"""The law by which the server follows a device's log: nothing is taken twice, nothing is skipped in silence.

Pure. A log is numbered from 1 without gaps; what a device had to forget stands in it as an explicit range. The server
keeps the number that comes next, and moves it in the transaction that takes the data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.errors import CursorGapError, InvalidRequestError


@dataclass(frozen=True)
class Entry:
    """One record as it was sent: data at `first` = `last`, or a range of numbers that the device has dropped."""

    first: int
    last: int
    index: int
    """Its place in the request."""
    is_dropped: bool = False


@dataclass(frozen=True)
class Taken:
    """What of a request is new."""

    next_seq: int
    data: tuple[Entry, ...]
    dropped: tuple[Entry, ...]
    """Cut to the part that is new."""


def advance(next_seq: int, entries: Iterable[Entry]) -> Taken:
    """Follow `entries` from `next_seq`; what came before it is a duplicate and is left out.

    Raises:
        CursorGapError: an entry begins beyond what has been taken; nothing of the request is.
        InvalidRequestError: the entries do not ascend.
    """
    data: list[Entry] = []
    dropped: list[Entry] = []
    resume_at, before = next_seq, 0
    for entry in entries:
        if entry.first <= before or entry.last < entry.first:
            raise InvalidRequestError(f"records must ascend: {entry.first} to {entry.last} follows {before}")
        before = entry.last
        if entry.last < next_seq:
            continue
        if entry.first > next_seq:
            raise CursorGapError(
                f"record {next_seq} comes next, not {entry.first}: resume there, or say that the records were dropped",
                next_seq=resume_at,
            )
        if entry.is_dropped:
            dropped.append(Entry(next_seq, entry.last, entry.index, is_dropped=True))
        else:
            data.append(entry)
        next_seq = entry.last + 1
    return Taken(next_seq, tuple(data), tuple(dropped))
