"""Unpacks the working directory that `submit` uploaded, which is hostile until shown otherwise.

Sizes are checked against the caps before anything is written, and again while it is written, since a zip may lie about
them. Only plain files and folders inside the target exist afterwards. Shipping it to the workers is Ray's part.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orchestrator.jobs.errors import WorkingDirError

_CHUNK_BYTES = 1 << 20
# What zipfile raises for damaged input; found by flipping every byte of an archive.
_DAMAGE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True, kw_only=True)
class UnpackLimits:
    """Caps on what a working directory may hold."""

    total_bytes: int = 256 << 20  # unpacked
    file_bytes: int = 128 << 20
    files: int = 5000
    name_bytes: int = 512
    depth: int = 32


def unpack_working_dir(archive: bytes, target: Path, limits: UnpackLimits | None = None) -> None:
    """Write the files of the zip below `target`, which is created and must not hold anything.

    Raises:
        WorkingDirError: not a zip, too large, a name that leaves the folder, a link, a duplicate, a bad checksum.
    """
    limits = limits or UnpackLimits()
    target.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as bundle:
            entries = _checked_entries(bundle.infolist(), limits)
            written_bytes = 0
            for path, info in entries:
                written_bytes += _write(bundle, info, target / path, limits, limits.total_bytes - written_bytes)
    except _DAMAGE as error:
        raise WorkingDirError(f"the working directory is not a readable zip: {error}; submit it again") from error
    except OSError as error:
        raise WorkingDirError(f"the working directory cannot be unpacked: {error}") from error


def _checked_entries(infos: list[zipfile.ZipInfo], limits: UnpackLimits) -> list[tuple[PurePosixPath, zipfile.ZipInfo]]:
    if len(infos) > limits.files:
        raise WorkingDirError(f"the working directory has {len(infos)} files, at most {limits.files} are allowed")
    total_bytes = sum(info.file_size for info in infos)
    if total_bytes > limits.total_bytes:
        raise WorkingDirError(
            f"the working directory unpacks to {total_bytes} bytes, at most {limits.total_bytes} are allowed; "
            "leave data and build output out with an ignore file"
        )
    seen: set[str] = set()
    entries = []
    for info in infos:
        path = _checked_path(info, limits)
        folded = path.as_posix().casefold()  # two names that a case-insensitive disk takes for one are refused too
        if folded in seen:
            raise WorkingDirError(f"the working directory names {info.filename!r} twice")
        seen.add(folded)
        if not info.is_dir():
            entries.append((path, info))
    return entries


def _checked_path(info: zipfile.ZipInfo, limits: UnpackLimits) -> PurePosixPath:
    name = info.filename
    if not name or len(name.encode("utf-8", "surrogatepass")) > limits.name_bytes:
        raise WorkingDirError(f"a file name of the working directory is empty or longer than {limits.name_bytes} bytes")
    parts = name.rstrip("/").split("/")
    unsafe = any(part in ("", ".", "..") for part in parts) or any(c in name for c in "\\:\0")
    if unsafe or not name.isprintable():
        raise WorkingDirError(f"the working directory names {name!r}, which is not a path inside of it")
    if len(parts) > limits.depth:
        raise WorkingDirError(f"{name!r} is nested deeper than {limits.depth} folders")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise WorkingDirError(f"{name!r} is a link or a device; only files and folders are allowed")
    if info.flag_bits & 0x1:
        raise WorkingDirError(f"{name!r} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise WorkingDirError(f"{name!r} is compressed in another way than deflate")
    return PurePosixPath(*parts)


def _write(bundle: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, limits: UnpackLimits, left_bytes: int) -> int:
    allowed_bytes = min(info.file_size, limits.file_bytes, left_bytes)
    if info.file_size > allowed_bytes:
        raise WorkingDirError(f"{info.filename!r} has {info.file_size} bytes, at most {limits.file_bytes} are allowed")
    path.parent.mkdir(parents=True, exist_ok=True)
    written_bytes = 0
    with bundle.open(info) as source, path.open("xb") as sink:
        while chunk := source.read(_CHUNK_BYTES):
            written_bytes += len(chunk)
            if written_bytes > allowed_bytes:
                raise WorkingDirError(f"{info.filename!r} unpacks to more than the {info.file_size} bytes it declares")
            sink.write(chunk)
    return written_bytes
