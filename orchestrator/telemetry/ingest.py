"""Takes telemetry and samples that have been checked, inside the transaction that also moves the device's cursor."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from orchestrator.errors import ConflictError, ForbiddenError, InvalidRequestError, QuotaError
from orchestrator.records import Device
from orchestrator.store import Session
from orchestrator.telemetry.cursors import Entry, advance
from protos import fleet_pb2

TELEMETRY = "telemetry"
SAMPLES = "samples"
SPOOLS_PER_DEVICE = 1024
"""A device makes a new spool when it has lost the old one; one that does so all the time is refused."""


def take_telemetry(session: Session, device_id: str, request: fleet_pb2.PushTelemetryRequest) -> int:
    """Keep the windows and dropped ranges that are new; the number that the device may forget everything before.

    Raises:
        CursorGapError: records are missing in between; nothing was taken.
        ConflictError: the device has never synced.
    """
    device = _known(session, device_id)
    taken = advance(
        _next_seq(session, device_id, TELEMETRY, request.spool_id),
        [_entry(index, record) for index, record in enumerate(request.records)],
    )
    if not taken.data and not taken.dropped:
        return taken.next_seq
    for entry in taken.dropped:
        reason = request.records[entry.index].dropped.reason
        session.telemetry.add_dropped(device_id, request.spool_id, entry.first, entry.last, reason)
    if taken.data:
        windows = {entry.first: request.records[entry.index].window for entry in taken.data}
        session.telemetry.add_windows(device_id, device.facts.device_class, request.spool_id, windows)
    session.telemetry.move_cursor(device_id, TELEMETRY, request.spool_id, taken.next_seq)
    return taken.next_seq


def take_samples(session: Session, device_id: str, request: fleet_pb2.PushSamplesRequest) -> tuple[int, int]:
    """Keep the samples that are new and wanted; what comes next, and how many more are wanted.

    Numbers may be missing: a sample is not counted, so one that the device has dropped is no loss to account for. What
    is beyond the quota is forgotten, and counts as taken.

    Raises:
        ForbiddenError: the device's operator does not allow samples to be returned.
    """
    device = _known(session, device_id)
    if not device.samples_consent:
        raise ForbiddenError(f"device {device_id!r} has not consented to returning samples: set it on the device first")
    next_seq = _next_seq(session, device_id, SAMPLES, request.spool_id)
    fresh = [sample for sample in request.samples if sample.seq >= next_seq]
    if not fresh:
        return next_seq, session.samples.remaining(device_id) or 0
    remaining = session.samples.take(device_id, fresh)
    next_seq = fresh[-1].seq + 1
    session.telemetry.move_cursor(device_id, SAMPLES, request.spool_id, next_seq)
    return next_seq, remaining


def check_ascending(seqs: Sequence[int]) -> None:
    if any(later <= earlier for earlier, later in itertools.pairwise(seqs)):
        raise InvalidRequestError("sequence numbers must ascend")


def _known(session: Session, device_id: str) -> Device:
    device = session.devices.find(device_id)
    if device is None:
        raise ConflictError(f"device {device_id!r} is not known yet: sync first")
    return device


def _next_seq(session: Session, device_id: str, stream: str, spool_id: str) -> int:
    next_seq = session.telemetry.next_seq(device_id, stream, spool_id)
    if next_seq == 1 and session.telemetry.count_spools(device_id) >= SPOOLS_PER_DEVICE:
        raise QuotaError(f"device {device_id!r} has used {SPOOLS_PER_DEVICE} spools; delete it and enrol it again")
    return next_seq


def _entry(index: int, record: fleet_pb2.TelemetryRecord) -> Entry:
    if record.HasField("dropped"):
        return Entry(record.dropped.first_seq, record.dropped.last_seq, index, is_dropped=True)
    return Entry(record.seq, record.seq, index)
