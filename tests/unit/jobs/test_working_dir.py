"""An uploaded working directory is hostile until unpacked."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from orchestrator.jobs.errors import WorkingDirError
from orchestrator.jobs.working_dir import UnpackLimits, unpack_working_dir


def zip_of(*files: tuple[str, bytes], mode: int = 0o644 | stat.S_IFREG) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in files:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            bundle.writestr(info, content)
    return buffer.getvalue()


def test_files_and_folders_are_unpacked(tmp_path: Path) -> None:
    unpack_working_dir(zip_of(("workload.py", b"x = 1\n"), ("pkg/__init__.py", b"")), tmp_path / "code")
    assert (tmp_path / "code" / "workload.py").read_bytes() == b"x = 1\n"
    assert (tmp_path / "code" / "pkg" / "__init__.py").exists()


@pytest.mark.parametrize(
    "name",
    ["../evil.py", "a/../../evil.py", "/etc/evil", "C:/evil", "a\\..\\evil", "a//b", "./a", "a/./b", "..", "a\nb", ""],
)
def test_a_name_that_is_not_a_path_inside_is_refused_and_writes_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(WorkingDirError):
        unpack_working_dir(zip_of(("good.py", b""), (name, b"x")), tmp_path / "code")
    assert list((tmp_path / "code").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["code"]


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkingDirError, match="link or a device"):
        unpack_working_dir(zip_of(("link", b"/etc/passwd"), mode=0o777 | stat.S_IFLNK), tmp_path / "code")


@pytest.mark.parametrize("twin", ["a.py", "A.PY"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused(tmp_path: Path, twin: str) -> None:
    with pytest.raises(WorkingDirError, match="twice"):
        unpack_working_dir(zip_of(("a.py", b"1"), (twin, b"2")), tmp_path / "code")


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (UnpackLimits(total_bytes=1000), "unpacks to 4000 bytes"),
        (UnpackLimits(file_bytes=1000), "at most 1000"),
        (UnpackLimits(files=1), "at most 1"),
        (UnpackLimits(name_bytes=3), "longer than 3"),
        (UnpackLimits(depth=1), "deeper than 1"),
    ],
)
def test_each_cap_is_named_when_it_is_passed(tmp_path: Path, limits: UnpackLimits, words: str) -> None:
    archive = zip_of(("big.bin", bytes(3000)), ("pkg/big.bin", bytes(1000)))
    with pytest.raises(WorkingDirError, match=words):
        unpack_working_dir(archive, tmp_path / "code", limits)


def test_a_zip_that_lies_about_a_size_is_stopped_while_it_unpacks(tmp_path: Path) -> None:
    archive = bytearray(zip_of(("bomb.bin", bytes(1 << 20))))
    central = archive.rindex(b"PK\x01\x02")
    archive[central + 24 : central + 28] = struct.pack("<I", 10)  # uncompressed size, as the directory tells it
    with pytest.raises(WorkingDirError):
        unpack_working_dir(bytes(archive), tmp_path / "code")
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 10


@pytest.mark.parametrize("damage", [b"", b"not a zip", b"PK\x05\x06" + bytes(10)])
def test_what_is_not_a_zip_is_one_typed_error(tmp_path: Path, damage: bytes) -> None:
    with pytest.raises(WorkingDirError):
        unpack_working_dir(damage, tmp_path / "code")


def test_every_truncation_and_every_flipped_byte_unpacks_or_is_one_typed_error(tmp_path: Path) -> None:
    archive = zip_of(("a.py", b"x = 1\n" * 20), ("b/c.py", b"y"))
    damaged = [archive[:length] for length in range(0, len(archive), 3)]
    damaged += [archive[:i] + bytes([archive[i] ^ 0xFF]) + archive[i + 1 :] for i in range(len(archive))]
    for index, candidate in enumerate(damaged):
        try:
            unpack_working_dir(candidate, tmp_path / str(index))
        except WorkingDirError:
            continue
    assert all(tmp_path in path.resolve().parents for path in tmp_path.rglob("*"))
