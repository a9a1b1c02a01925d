"""Digests as callers hold them: hex, bytes, or nothing."""

from __future__ import annotations

from typing import TypeAlias

from orchestrator.errors import InvalidRequestError

Digest: TypeAlias = str | bytes
"""A SHA-256, as 64 hex characters (after "sha256:" or not) or 32 bytes; empty where there is none."""


def sha256_of(digest: Digest) -> bytes:
    """
    Raises:
        InvalidRequestError: neither 32 bytes nor their hex.
    """
    if isinstance(digest, bytes):
        raw = digest
    else:
        try:
            raw = bytes.fromhex(digest.removeprefix("sha256:"))
        except ValueError:
            raise InvalidRequestError(f"{digest[:80]!r} is no SHA-256: write it as 64 hex characters") from None
    if len(raw) not in (0, 32):
        raise InvalidRequestError(f"a SHA-256 has 32 bytes, not {len(raw)}")
    return raw
