"""A bounded log on disk: records get rising numbers, are read in order and forgotten once a cursor acknowledges them.

A spool is a folder of segments named by the first number in them. Rules kept here:

- an appended record has been synced before anybody reads it, so a number that left the device is never given out again;
- a full spool drops its oldest segment, and a damaged record ends its segment; both leave a hole that `read` reports;
- the folder has an id, made once: a folder that was lost comes back under a new id, and with it a new cursor.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

from edge_agent.crashpoints import reach
from edge_agent.disk import sync_directory, write_durably
from edge_agent.errors import DiskFullError, SpoolError

logger = logging.getLogger(__name__)

FIRST_SEQ = 1
RECORD_LIMIT_BYTES = 4 << 20
SEGMENTS = 16
"""A full spool drops about one part in so many."""
_HEADER = struct.Struct("<IIQ")  # payload bytes, CRC-32 of number and payload, number


@dataclass(frozen=True)
class Record:
    seq: int
    payload: bytes


@dataclass(frozen=True)
class Gap:
    """Numbers that were given out, but whose records are gone."""

    first_seq: int
    last_seq: int
    reason: str


@dataclass
class _Segment:
    path: Path
    first_seq: int
    next_seq: int
    size_bytes: int


class Spool:
    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._max_bytes = max_bytes
        self._segment_bytes = max(1, max_bytes // SEGMENTS)
        self._is_dirty = False
        self._kept_until = 0
        self.spool_id = self._read_id()
        self.cursor = self._read_cursor()
        """The first number that has not been acknowledged."""
        self._segments = [self._scan(path) for path in sorted(directory.glob("*.log"))]
        self._heal_tail()
        self._file = _open_to_append(self._segments[-1].path)

    @property
    def next_seq(self) -> int:
        return self._segments[-1].next_seq

    @property
    def size_bytes(self) -> int:
        return sum(segment.size_bytes for segment in self._segments)

    @property
    def pending(self) -> int:
        """Numbers given out and not acknowledged, holes included."""
        return self.next_seq - self.cursor

    def has_room(self, payload_bytes: int) -> bool:
        """Whether a record of this size fits without dropping an older one."""
        return self.size_bytes + _HEADER.size + payload_bytes <= self._max_bytes

    def append(self, payload: bytes) -> int:
        """Add a record and return its number. Durable after `sync`.

        Raises:
            DiskFullError: the disk is full; the record is lost and its number becomes a hole.
        """
        if len(payload) > RECORD_LIMIT_BYTES:
            raise ValueError(f"a record has at most {RECORD_LIMIT_BYTES} bytes, not {len(payload)}")
        last = self._segments[-1]
        if last.size_bytes >= self._segment_bytes:
            self.close()
            last = self._create_segment(self.next_seq)
            self._file = _open_to_append(last.path)
        seq = last.next_seq
        checksum = zlib.crc32(payload, zlib.crc32(seq.to_bytes(8, "little")))
        record = _HEADER.pack(len(payload), checksum, seq) + payload
        last.next_seq = seq + 1
        self._is_dirty = True
        try:
            written = self._file.write(record)
        except OSError as error:
            self._file.truncate(last.size_bytes)
            raise DiskFullError(f"cannot append to {last.path}: {error.strerror}") from error
        if written != len(record):
            self._file.truncate(last.size_bytes)
            raise DiskFullError(f"cannot append to {last.path}: no space")
        last.size_bytes += len(record)
        reach("spool-appended")
        self._drop_oldest()
        return seq

    def sync(self) -> None:
        if self._is_dirty:
            os.fsync(self._file.fileno())
            self._is_dirty = False

    def read(self, *, max_records: int, max_bytes: int) -> list[Record | Gap]:
        """The oldest records that have not been acknowledged, synced first; at least one, if there is any."""
        self.sync()
        items: list[Record | Gap] = []
        size = 0
        for item in self._unacknowledged():
            size += len(item.payload) if isinstance(item, Record) else 0
            if len(items) == max_records or (items and size > max_bytes):
                break
            items.append(item)
        return items

    def acknowledge(self, next_seq: int) -> None:
        """Forget everything before `next_seq`.

        A number before the cursor means that the other side lost what it had acknowledged. What is no longer here is
        then reported as a hole.
        """
        if next_seq > self.next_seq:
            raise SpoolError(f"{next_seq} was acknowledged, but only numbers below {self.next_seq} were given out")
        if next_seq == self.cursor:
            return
        self._kept_until = max(self._kept_until, self.cursor) if next_seq < self.cursor else self._kept_until
        self.cursor = max(next_seq, FIRST_SEQ)
        write_durably(self._directory / "cursor", str(self.cursor).encode())
        reach("cursor-written")
        while len(self._segments) > 1 and self._segments[0].next_seq <= self.cursor:
            self._segments.pop(0).path.unlink()

    def close(self) -> None:
        self.sync()
        self._file.close()

    def _unacknowledged(self) -> Iterator[Record | Gap]:
        seq = self.cursor
        for position, segment in enumerate(self._segments):
            if seq < segment.first_seq:
                yield self._gap(seq, segment.first_seq - 1, is_front=position == 0)
                seq = segment.first_seq
            if seq >= segment.next_seq:
                continue
            for record in _records(segment.path):
                if record.seq < seq:
                    continue
                if record.seq > seq:
                    yield Gap(seq, record.seq - 1, "the disk was full")
                yield record
                seq = record.seq + 1
            if seq < segment.next_seq:
                yield Gap(seq, segment.next_seq - 1, "damaged on disk")
                seq = segment.next_seq

    def _gap(self, first: int, last: int, *, is_front: bool) -> Gap:
        if last < self._kept_until:
            return Gap(first, last, "acknowledged before and no longer kept")
        return Gap(first, last, "the spool was full" if is_front else "damaged on disk")

    def _drop_oldest(self) -> None:
        while self.size_bytes > self._max_bytes and len(self._segments) > 1:
            oldest = self._segments.pop(0)
            oldest.path.unlink()
            if oldest.next_seq > self.cursor:
                logger.warning("spool %s is full: dropped records up to %d", self._directory.name, oldest.next_seq - 1)

    def _create_segment(self, first_seq: int) -> _Segment:
        path = self._directory / f"{first_seq:020d}.log"
        path.touch()
        sync_directory(self._directory)
        self._segments.append(_Segment(path, first_seq, first_seq, 0))
        return self._segments[-1]

    def _scan(self, path: Path) -> _Segment:
        """Measure a segment up to its first damaged record, and cut the rest off."""
        first_seq = _first_seq(path)
        segment = _Segment(path, first_seq, first_seq, 0)
        for record in _records(path):
            segment.size_bytes += _HEADER.size + len(record.payload)
            segment.next_seq = record.seq + 1
        return segment

    def _heal_tail(self) -> None:
        """Cut damaged ends off. What they may have held becomes a hole: no number may be given out twice."""
        following = FIRST_SEQ
        for segment in list(self._segments):
            lost_bytes = segment.path.stat().st_size - segment.size_bytes
            following = segment.next_seq
            if lost_bytes:
                logger.warning("spool %s: cutting %d damaged bytes off", self._directory.name, lost_bytes)
                os.truncate(segment.path, segment.size_bytes)
                following += lost_bytes // _HEADER.size + 1
        following = max(following, self.cursor)
        if not self._segments or self._segments[-1].next_seq < following:
            self._create_segment(following)

    def _read_id(self) -> str:
        path = self._directory / "id"
        if not path.exists():
            write_durably(path, os.urandom(16).hex().encode())
        text = path.read_text()
        if len(text) != 32:
            raise SpoolError(f"{path} is damaged; remove the folder {self._directory} to begin a new spool")
        return text

    def _read_cursor(self) -> int:
        try:
            return max(int((self._directory / "cursor").read_text()), FIRST_SEQ)
        except FileNotFoundError:
            return FIRST_SEQ
        except ValueError:
            raise SpoolError(f"the cursor in {self._directory} is damaged; remove the folder") from None


def _open_to_append(path: Path) -> RawIOBase:
    return open(path, "ab", buffering=0)


def _first_seq(path: Path) -> int:
    try:
        return int(path.stem)
    except ValueError:
        raise SpoolError(f"{path} is no segment of a spool") from None


def _records(path: Path) -> Iterator[Record]:
    """The records of a segment up to the first damaged one."""
    expected = _first_seq(path)
    with open(path, "rb") as file:
        while True:
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                return
            length, checksum, seq = _HEADER.unpack(header)
            if length > RECORD_LIMIT_BYTES or seq < expected:
                return
            payload = file.read(length)
            if len(payload) < length or zlib.crc32(payload, zlib.crc32(header[8:])) != checksum:
                return
            yield Record(seq, payload)
            expected = seq + 1
