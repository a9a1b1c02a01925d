"""Packs the working directory of a job: the user's own modules, as one zip that is the same bytes for the same files.

Same files, same digest: a job that is submitted again finds its stages in the cache. Names in `.espalierignore` (in the
syntax of .gitignore) stay out, and so does what never belongs to code. Only
regular files are packed; a link that leads out of the folder is refused, because it would ship what nobody meant to.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import InvalidRequestError, TooLargeError

IGNORE_FILE = ".espalierignore"
ALWAYS_IGNORED = (
    ".git/", ".hg/", ".venv/", "venv/", "node_modules/", "__pycache__/", "*.pyc", ".mypy_cache/", ".ruff_cache/",
    ".pytest_cache/", ".ipynb_checkpoints/", ".DS_Store", "espalier-data/",
)  # fmt: skip
DEFAULT_LIMIT_BYTES = 100 * 1000 * 1000
FILES_LIMIT = 5000
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say


@dataclass(frozen=True, kw_only=True)
class PackedFolder:
    archive: bytes
    files: tuple[str, ...]
    unpacked_bytes: int


def pack(folder: Path, *, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> PackedFolder:
    """Zip what is below `folder` and not ignored.

    Raises:
        InvalidRequestError: not a folder, nothing in it, or a link that leads out of it.
        TooLargeError: more than `limit_bytes` unpacked, or too many files; names the largest.
    """
    if not folder.is_dir():
        raise InvalidRequestError(f"{folder} is not a folder")
    root = folder.resolve()
    paths = sorted(_files(root, _read_ignore_file(root)), key=lambda path: path.relative_to(root).as_posix())
    if not paths:
        raise InvalidRequestError(f"{folder} holds no file that is not ignored")
    sizes = {path: path.stat().st_size for path in paths}
    _check_size(root, sizes, limit_bytes)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in paths:
            entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever it is packed
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, path.read_bytes())
    names = tuple(path.relative_to(root).as_posix() for path in paths)
    return PackedFolder(archive=buffer.getvalue(), files=names, unpacked_bytes=sum(sizes.values()))


def _files(root: Path, ignored: IgnoreRules) -> Iterator[Path]:
    stack = [root]
    while stack:
        for path in stack.pop().iterdir():
            name = path.relative_to(root).as_posix()
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                if not ignored.matches(name, is_folder=path.is_dir()):
                    raise InvalidRequestError(f"{name} is a link that leads out of the folder; ignore or remove it")
            elif path.is_dir():
                if not path.is_symlink() and not ignored.matches(name, is_folder=True):
                    stack.append(path)
            elif path.is_file() and not ignored.matches(name, is_folder=False):
                yield path


def _check_size(root: Path, sizes: dict[Path, int], limit_bytes: int) -> None:
    total_bytes = sum(sizes.values())
    if len(sizes) > FILES_LIMIT:
        raise TooLargeError(f"{root} holds {len(sizes)} files, more than {FILES_LIMIT}; list some in {IGNORE_FILE}")
    if total_bytes > limit_bytes:
        largest = max(sizes, key=lambda path: sizes[path])
        raise TooLargeError(
            f"{root} holds {total_bytes:,} bytes, more than {limit_bytes:,}; the largest file is "
            f"{largest.relative_to(root)} with {sizes[largest]:,}. List what a job does not need in {IGNORE_FILE}"
        )


class IgnoreRules:
    """Patterns in the syntax of .gitignore; the last that matches decides."""

    def __init__(self, lines: list[str]) -> None:
        self._rules = [rule for rule in map(_parse_rule, lines) if rule is not None]

    def matches(self, name: str, *, is_folder: bool) -> bool:
        """Whether the path `name`, relative to the root, is ignored by itself (not because a folder above it is)."""
        ignored = False
        for rule in self._rules:
            if (is_folder or not rule.folders_only) and rule.pattern.fullmatch(name):
                ignored = not rule.is_negated
        return ignored


@dataclass(frozen=True)
class _Rule:
    pattern: re.Pattern[str]
    folders_only: bool
    is_negated: bool


def _parse_rule(line: str) -> _Rule | None:
    text = line.strip()
    if not text or text.startswith("#"):
        return None
    is_negated = text.startswith("!")
    text = text.removeprefix("!").removeprefix("\\")
    folders_only = text.endswith("/")
    text = text.rstrip("/")
    is_anchored = "/" in text
    pattern = _translate(text.removeprefix("/"))
    return _Rule(re.compile(pattern if is_anchored else f"(?:.*/)?{pattern}"), folders_only, is_negated)


_TRANSLATIONS = {"**/": "(?:.*/)?", "/**": "/.*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _translate(glob: str) -> str:
    parts = re.split(r"(\*\*/|/\*\*$|\*\*|\*|\?)", glob)
    return "".join(_TRANSLATIONS.get(part, re.escape(part)) for part in parts)


def _read_ignore_file(root: Path) -> IgnoreRules:
    path = root / IGNORE_FILE
    own = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return IgnoreRules([*ALWAYS_IGNORED, IGNORE_FILE, *own])
