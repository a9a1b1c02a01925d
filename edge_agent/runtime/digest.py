"""Holds bytes to the SHA-256 and the size they were named by."""

from __future__ import annotations

import hashlib

from edge_agent.errors import DigestMismatchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def check_digest(data: bytes, sha256: bytes, *, what: str) -> None:
    """Raise `DigestMismatchError` unless `data` has the digest `sha256`."""
    actual = hashlib.sha256(data).digest()
    if actual != sha256:
        raise DigestMismatchError(what, expected=f"sha256 {sha256.hex()}", actual=f"sha256 {actual.hex()}")


class BlobReader:
    """Asks for each blob once and gives nothing but what was named."""

    def __init__(self, blobs: Callable[[bytes], bytes]) -> None:
        self._blobs = blobs
        self._checked: dict[bytes, bytes] = {}

    def read(self, sha256: bytes, size_bytes: int, *, what: Callable[[], str]) -> bytes:
        """The blob's bytes; raises `DigestMismatchError`, which says `what()` it is, for any others."""
        data = self._checked.get(sha256)
        if data is None:
            data = self._blobs(sha256)
            if hashlib.sha256(data).digest() != sha256:
                check_digest(data, sha256, what=what())  # raises
            self._checked[sha256] = data
        if len(data) != size_bytes:
            raise DigestMismatchError(what(), expected=f"{size_bytes} bytes", actual=f"{len(data)} bytes")
        return data
