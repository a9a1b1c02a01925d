"""Holds bytes to the SHA-256 they were named by."""

from __future__ import annotations

import hashlib

from edge_agent.errors import DigestMismatchError


def check_digest(data: bytes, sha256: bytes, *, what: str) -> None:
    """Raise `DigestMismatchError` unless `data` has the digest `sha256`."""
    actual = hashlib.sha256(data).digest()
    if actual != sha256:
        raise DigestMismatchError(what, expected=f"sha256 {sha256.hex()}", actual=f"sha256 {actual.hex()}")
