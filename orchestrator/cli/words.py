"""Numbers and names as people read them: the cells of the command line's tables."""

from __future__ import annotations

import time
from datetime import UTC, datetime

SHORT_DIGEST = 12


def short(digest: str) -> str:
    """The beginning of a digest, enough to tell models apart and accepted by every command."""
    return digest[:SHORT_DIGEST] if digest else "-"


def size(size_bytes: float) -> str:
    if size_bytes < 1000:
        return f"{size_bytes:.0f} B"
    for unit in ("kB", "MB", "GB"):
        size_bytes /= 1000
        if size_bytes < 1000:
            return f"{size_bytes:.1f} {unit}"
    return f"{size_bytes / 1000:.1f} TB"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def milliseconds(value_us: float | None) -> str:
    return "-" if value_us is None else f"{value_us / 1000:.2f} ms"


def duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def when(unix_ms: int) -> str:
    """Local date and time."""
    if not unix_ms:
        return "-"
    return datetime.fromtimestamp(unix_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(unix_ms: int, now_ms: int | None = None) -> str:
    if not unix_ms:
        return "never"
    now = now_ms if now_ms is not None else round(time.time() * 1000)
    return f"{duration(max(0.0, (now - unix_ms) / 1000))} ago"


def count_of(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
