"""The laws of a log that is sent in pieces: nothing twice, nothing skipped in silence, whatever is sent again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import CursorGapError, InvalidRequestError
from orchestrator.telemetry.cursors import Entry, advance


def entry(first: int, last: int | None = None, index: int = 0) -> Entry:
    return Entry(first, first if last is None else last, index, is_dropped=last is not None)


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    """A device's whole log: records and dropped ranges, numbered from 1 without gaps."""
    log, seq = [], 1
    for _ in range(draw(st.integers(1, 20))):
        length = draw(st.integers(0, 5))
        log.append(entry(seq, seq + length - 1, len(log)) if length else entry(seq, None, len(log)))
        seq = log[-1].last + 1
    return log


@settings(deadline=None)
@given(logs(), st.data())
def test_a_log_sent_in_overlapping_pieces_is_taken_once(log: list[Entry], data: st.DataObject) -> None:
    """Pieces may be repeated and overlap; a piece that begins too far ahead is refused and changes nothing."""
    next_seq, counted = 1, set()
    end = log[-1].last + 1
    for _ in range(200):
        if next_seq == end:
            break
        start = data.draw(st.integers(0, len(log) - 1))
        piece = log[start : start + data.draw(st.integers(1, 6))]
        if piece[0].first > next_seq:
            with pytest.raises(CursorGapError) as caught:
                advance(next_seq, piece)
            assert caught.value.next_seq == next_seq
            continue
        taken = advance(next_seq, piece)
        assert taken.next_seq >= next_seq
        for item in (*taken.data, *taken.dropped):
            numbers = set(range(item.first, item.last + 1))
            assert not numbers & counted
            counted |= numbers
        next_seq = taken.next_seq
        assert counted == set(range(1, next_seq))


@settings(deadline=None)
@given(logs())
def test_sending_everything_again_takes_nothing(log: list[Entry]) -> None:
    done = advance(1, log)
    again = advance(done.next_seq, log)
    assert again.next_seq == done.next_seq
    assert not again.data
    assert not again.dropped


def test_a_gap_inside_a_piece_refuses_the_whole_piece_and_says_where_to_resume() -> None:
    with pytest.raises(CursorGapError) as caught:
        advance(3, [entry(3), entry(4), entry(6)])
    assert caught.value.next_seq == 3


def test_a_dropped_range_that_was_partly_taken_counts_only_the_rest() -> None:
    taken = advance(5, [entry(2, 8)])
    assert [(item.first, item.last) for item in taken.dropped] == [(5, 8)]
    assert taken.next_seq == 9


@pytest.mark.parametrize("entries", [[entry(2), entry(2)], [entry(2), entry(1)], [entry(5, 3)], [entry(0)]])
def test_entries_that_do_not_ascend_are_refused(entries: list[Entry]) -> None:
    with pytest.raises(InvalidRequestError, match="ascend"):
        advance(2, entries)
