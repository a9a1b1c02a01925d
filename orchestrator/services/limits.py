"""Limits on what a message may hold. Each check says what was wrong and what would be right."""

from __future__ import annotations

import math
from collections.abc import Sequence, Sized

from edge_agent.sketch import LatencySketch
from orchestrator.errors import InvalidRequestError, TooLargeError
from protos import fleet_pb2, model_pb2

COUNT_LIMIT = 1 << 53
"""Counters above this are no longer exact as a float, and no honest device reaches it."""
WINDOW_COUNT_LIMIT = 1 << 40
"""Of one window: so many of them fit into a sum before it overflows that no device can send them."""
TIME_LIMIT_MS = 1 << 43  # the year 2248
CONFIDENCE_BINS = 32
CLASSES_LIMIT = 4096
OPERATORS_LIMIT = 4097  # and the input's preparation
SPEC_BYTES = 256 * 1024
MESSAGE_CHARS = 8192


def check_count(name: str, items: Sized, limit: int) -> None:
    if len(items) > limit:
        raise TooLargeError(f"{name} has {len(items)} entries, more than {limit}")


def check_text(name: str, text: str, limit: int, *, required: bool = False) -> str:
    if required and not text:
        raise InvalidRequestError(f"{name} is missing")
    if len(text) > limit:
        raise TooLargeError(f"{name} has {len(text)} characters, more than {limit}")
    if "\x00" in text:
        raise InvalidRequestError(f"{name} holds a NUL character")
    return text


def check_number(name: str, value: float, *, low: float = 0.0, high: float = 1e15) -> float:
    if not math.isfinite(value) or not low <= value <= high:
        raise InvalidRequestError(f"{name} must lie within [{low:g}, {high:g}], not {value:g}")
    return value


def check_counter(name: str, value: int) -> int:
    if not 0 <= value <= COUNT_LIMIT:
        raise InvalidRequestError(f"{name} must lie within [0, 2^53], not {value}")
    return value


def check_digest(name: str, digest: bytes) -> str:
    """A SHA-256 as hex."""
    if len(digest) != 32:
        raise InvalidRequestError(f"{name} must be the 32 bytes of a SHA-256, not {len(digest)} bytes")
    return digest.hex()


def check_optional_digest(name: str, digest: bytes) -> str:
    return check_digest(name, digest) if digest else ""


def check_blob(name: str, blob: model_pb2.BlobRef, size_limit: int) -> tuple[str, int]:
    """Digest and size of a blob that is named."""
    if blob.size_bytes > size_limit:
        raise TooLargeError(f"{name} has {blob.size_bytes} bytes, more than {size_limit}")
    return check_digest(name, blob.sha256), blob.size_bytes


def check_facts(facts: fleet_pb2.DeviceFacts) -> None:
    check_text("facts.device_class", facts.device_class, 63, required=True)
    for name in ("agent_version", "engine_path", "machine"):
        check_text(f"facts.{name}", getattr(facts, name), 64)
    check_text("facts.cpu_model", facts.cpu_model, 256)
    check_count("facts.engine_paths", facts.engine_paths, 32)
    for path in facts.engine_paths:
        check_text("facts.engine_paths", path, 64)
    check_counter("facts.model_bytes_limit", facts.model_bytes_limit)
    check_counter("facts.ram_bytes_limit", facts.ram_bytes_limit)
    check_number("facts.latency_p95_limit_ms", facts.latency_p95_limit_ms)


def check_measurement(measurement: model_pb2.Measurement) -> None:
    check_text("measurement.device_class", measurement.device_class, 63)
    check_text("measurement.engine_path", measurement.engine_path, 64)
    check_number("measurement.latency_p50_us", measurement.latency_p50_us)
    check_number("measurement.latency_p95_us", measurement.latency_p95_us)
    check_counter("measurement.runs", measurement.runs)
    check_counter("measurement.peak_ram_bytes", measurement.peak_ram_bytes)
    check_count("measurement.operator_p50_us", measurement.operator_p50_us, OPERATORS_LIMIT)
    for lap_us in measurement.operator_p50_us:
        check_number("measurement.operator_p50_us", lap_us)


def check_pairs(pairs: fleet_pb2.PairCounts) -> None:
    for field in pairs.DESCRIPTOR.fields:
        if not field.name.endswith("_us"):
            check_counter(f"pairs.{field.name}", getattr(pairs, field.name))
    labelled = pairs.both_correct + pairs.only_old_correct + pairs.only_new_correct + pairs.both_wrong
    if max(pairs.agreements, pairs.slower, labelled) > pairs.pairs:
        raise InvalidRequestError("pairs: more pairs agree, are slower or have a label than there are pairs")


def check_window(window: fleet_pb2.Window) -> None:
    """Everything that a window claims is possible; a sketch that is not raises SketchError."""
    check_digest("window.model_sha256", window.model_sha256)
    for name in ("start_ms", "end_ms"):
        check_number(f"window.{name}", getattr(window, name), high=TIME_LIMIT_MS)
    if window.end_ms < window.start_ms:
        raise InvalidRequestError(f"window ends at {window.end_ms}, before it starts at {window.start_ms}")
    for name in ("requests", "errors", "labelled", "labelled_correct", "feedback_late", "feedback_unmatched"):
        check_number(f"window.{name}", getattr(window, name), high=WINDOW_COUNT_LIMIT)
    check_counter("window.rss_bytes", window.rss_bytes)
    if window.labelled_correct > window.labelled:
        raise InvalidRequestError("window: more labelled requests are correct than there are")
    check_number("window.cpu_seconds", window.cpu_seconds)
    if len(window.confidence_histogram) not in (0, CONFIDENCE_BINS):
        raise InvalidRequestError(f"window.confidence_histogram must have {CONFIDENCE_BINS} bins or none")
    check_count("window.class_counts", window.class_counts, CLASSES_LIMIT)
    _check_bins("window.confidence_histogram", window.confidence_histogram)
    _check_bins("window.class_counts", window.class_counts)
    LatencySketch.from_proto(window.engine_latency_us)
    LatencySketch.from_proto(window.request_latency_us)


def _check_bins(name: str, bins: Sequence[int]) -> None:
    if sum(bins) > WINDOW_COUNT_LIMIT:
        raise InvalidRequestError(f"{name} counts more than 2^40")
