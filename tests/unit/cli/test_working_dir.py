"""What `submit` uploads."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from orchestrator.errors import InvalidRequestError, TooLargeError
from orchestrator.working_dir import IgnoreRules, pack


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_same_files_are_the_same_bytes_whenever_they_are_packed(tmp_path: Path) -> None:
    first = write(tmp_path / "a", workload_py="x = 1", nested__helper_py="y = 2")
    second = write(tmp_path / "b", nested__helper_py="y = 2", workload_py="x = 1")
    (second / "workload.py").chmod(0o600)
    assert pack(first).archive == pack(second).archive
    assert pack(first).files == ("nested/helper.py", "workload.py")


def test_what_is_packed_unpacks_to_the_same_files(tmp_path: Path) -> None:
    folder = write(tmp_path / "job", workload_py="x = 1", nested__helper_py="y = 2")
    with zipfile.ZipFile(io.BytesIO(pack(folder).archive)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "workload.py": b"x = 1",
            "nested/helper.py": b"y = 2",
        }


def test_caches_and_ignored_names_stay_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "job", workload_py="x", data__big="...", notes="..")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "workload.pyc").write_bytes(b"x")
    (folder / ".espalierignore").write_text("# not code\ndata/\n/notes\n")
    assert pack(folder).files == ("workload.py",)


@pytest.mark.parametrize(
    ("pattern", "name", "is_folder", "expected"),
    [
        ("*.bin", "deep/down/x.bin", False, True),
        ("/x.bin", "deep/x.bin", False, False),
        ("/x.bin", "x.bin", False, True),
        ("data/", "data", False, False),
        ("data/", "a/data", True, True),
        ("a/**/z", "a/b/c/z", False, True),
        ("a/**/z", "a/z", False, True),
        ("a?c", "abc", False, True),
        ("a?c", "a/c", False, False),
        ("x[1].py", "x[1].py", False, True),
    ],
)
def test_patterns_mean_what_gitignore_means(pattern: str, name: str, is_folder: bool, expected: bool) -> None:
    assert IgnoreRules([pattern]).matches(name, is_folder=is_folder) is expected


def test_a_later_pattern_takes_back_an_earlier_one() -> None:
    rules = IgnoreRules(["*.txt", "!keep.txt"])
    assert rules.matches("drop.txt", is_folder=False)
    assert not rules.matches("keep.txt", is_folder=False)


def test_a_folder_that_is_too_large_names_its_largest_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "job", workload_py="x", weights="w" * 2000)
    with pytest.raises(TooLargeError, match="weights with 2,000"):
        pack(folder, limit_bytes=1000)


def test_a_link_out_of_the_folder_is_refused_unless_ignored(tmp_path: Path) -> None:
    folder = write(tmp_path / "job", workload_py="x")
    (folder / "secrets").symlink_to(tmp_path)
    with pytest.raises(InvalidRequestError, match="secrets is a link"):
        pack(folder)
    (folder / ".espalierignore").write_text("secrets\n")
    assert pack(folder).files == ("workload.py",)


def test_an_empty_folder_and_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="no file"):
        pack(tmp_path)
    path = tmp_path / "file"
    path.write_text("x")
    with pytest.raises(InvalidRequestError, match="not a folder"):
        pack(path)
