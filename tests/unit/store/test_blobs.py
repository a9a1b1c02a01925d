"""Blobs: what has a name has the bytes of that name, and an upload may stop anywhere."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import (
    BusyError,
    ConflictError,
    CorruptBlobError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)
from orchestrator.store import BlobStore


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs", size_limit=1_000_000)


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_bytes_are_kept_by_their_digest(blobs: BlobStore, tmp_path: Path) -> None:
    digest = blobs.put_bytes(b"hello")
    assert blobs.get_bytes(digest, 100) == b"hello"
    assert blobs.size(digest) == 5
    assert (tmp_path / "blobs" / digest[:2] / digest[2:4] / digest).read_bytes() == b"hello"
    assert not list((tmp_path / "blobs" / "staging").iterdir())


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=2000), st.lists(st.integers(1, 500), max_size=8), st.randoms())
def test_an_upload_may_be_broken_off_anywhere(data: bytes, pieces: list[int], rng) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        blobs = BlobStore(folder)
        digest = digest_of(data)
        for piece in pieces:
            offset = rng.randint(0, blobs.received(digest))
            upload = blobs.begin(digest, len(data), offset)
            assert upload is not None
            with upload:
                upload.write(data[offset : offset + piece])
        offset = blobs.received(digest)
        upload = blobs.begin(digest, len(data), offset)
        assert upload is not None
        with upload:
            upload.write(data[offset:])
            upload.finish()
        assert blobs.get_bytes(digest, len(data)) == data
        assert blobs.begin(digest, len(data), 0) is None


def test_other_bytes_than_the_digest_names_never_get_the_name(blobs: BlobStore) -> None:
    digest = digest_of(b"right")
    upload = blobs.begin(digest, 5, 0)
    assert upload is not None
    with upload:
        upload.write(b"wrong")
        with pytest.raises(CorruptBlobError):
            upload.finish()
    assert blobs.size(digest) is None
    assert blobs.received(digest) == 0


def test_a_part_that_a_crash_damaged_is_sent_again_from_the_start(blobs: BlobStore, tmp_path: Path) -> None:
    digest = digest_of(b"12345")
    with blobs.begin(digest, 5, 0) as upload:  # type: ignore[union-attr]
        upload.write(b"123")
    (tmp_path / "blobs" / "staging" / f"{digest}.part").write_bytes(b"\0\0\0")
    with blobs.begin(digest, 5, 3) as upload:  # type: ignore[union-attr]
        upload.write(b"45")
        with pytest.raises(UnavailableError):
            upload.finish()
    assert blobs.received(digest) == 0


def test_more_bytes_than_announced_are_refused_before_they_are_written(blobs: BlobStore) -> None:
    digest = digest_of(b"12345")
    upload = blobs.begin(digest, 5, 0)
    assert upload is not None
    with upload, pytest.raises(TooLargeError):
        upload.write(b"123456")


def test_an_unfinished_upload_cannot_be_finished(blobs: BlobStore) -> None:
    upload = blobs.begin(digest_of(b"12345"), 5, 0)
    assert upload is not None
    with upload, pytest.raises(ConflictError, match="0 of 5"):
        upload.finish()


def test_only_one_upload_of_a_blob_at_a_time(blobs: BlobStore) -> None:
    digest = digest_of(b"12345")
    with blobs.begin(digest, 5, 0), pytest.raises(BusyError):  # type: ignore[union-attr]
        blobs.begin(digest, 5, 0)
    with blobs.begin(digest, 5, 0) as upload:  # type: ignore[union-attr]
        upload.write(b"12345")
        upload.finish()


def test_an_upload_cannot_go_on_beyond_what_is_here(blobs: BlobStore) -> None:
    with pytest.raises(ConflictError, match="0 bytes"):
        blobs.begin(digest_of(b"12345"), 5, 3)


def test_a_blob_beyond_the_limit_is_refused_at_once(blobs: BlobStore) -> None:
    with pytest.raises(TooLargeError):
        blobs.begin("ab" * 32, 1_000_001, 0)


def test_bytes_that_changed_on_disk_are_noticed(blobs: BlobStore, tmp_path: Path) -> None:
    digest = blobs.put_bytes(b"hello")
    path = tmp_path / "blobs" / digest[:2] / digest[2:4] / digest
    path.write_bytes(b"hellO")
    with pytest.raises(CorruptBlobError):
        blobs.get_bytes(digest, 100)


def test_reading_more_than_is_wanted_is_refused_before_reading(blobs: BlobStore) -> None:
    digest = blobs.put_bytes(os.urandom(100))
    with pytest.raises(TooLargeError):
        blobs.get_bytes(digest, 99)


@pytest.mark.parametrize("digest", ["../../etc/passwd", "AB" * 32, "ab" * 31, "ab" * 32 + "\n", ""])
def test_a_digest_cannot_name_a_path(blobs: BlobStore, digest: str) -> None:
    with pytest.raises(ValueError, match="64 lower-case hex"):
        blobs.read(digest)


def test_a_missing_blob_is_not_found(blobs: BlobStore) -> None:
    assert blobs.size("ab" * 32) is None
    with pytest.raises(NotFoundError):
        blobs.read("ab" * 32)


def test_a_store_that_is_not_a_folder_works_through_a_local_staging_folder(tmp_path: Path) -> None:
    blobs = BlobStore("memory://blobs", staging=tmp_path)
    digest = blobs.put_bytes(b"hello")
    assert blobs.get_bytes(digest, 100) == b"hello"
    assert not list(tmp_path.iterdir())
