"""Find Fashion-MNIST's four files, or fetch them once, without root.

Order: the folder given by the caller; where Debian's package `dataset-fashion-mnist` puts them; a cache, filled by
unpacking that package where apt is at hand, else by download from the project. Every file is held to its SHA-256,
wherever it came from. Processes that start together wait for one of them to fill the cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.datasets.errors import DatasetError, DatasetFormatError, DatasetUnavailableError

OnProgress = Callable[[float, str], None]  # fraction done in 0..1, what is being done

SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
DEBIAN_PACKAGE = "dataset-fashion-mnist"
UPSTREAM = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
TIMEOUT_S = 120.0


@dataclass(frozen=True)
class KnownFile:
    size_bytes: int
    shape: tuple[int, ...]
    sha256: str


FILES = {
    "train-images-idx3-ubyte.gz": KnownFile(
        26_421_856, (60000, 28, 28), "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7"
    ),
    "train-labels-idx1-ubyte.gz": KnownFile(
        29_491, (60000,), "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056"
    ),
    "t10k-images-idx3-ubyte.gz": KnownFile(
        4_422_079, (10000, 28, 28), "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"
    ),
    "t10k-labels-idx1-ubyte.gz": KnownFile(
        5_125, (10000,), "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05"
    ),
}


def report_to_stderr(fraction: float, message: str) -> None:
    print(f"[{fraction:4.0%}] {message}", file=sys.stderr, flush=True)


def locate(folder: str | Path | None = None, *, on_progress: OnProgress = report_to_stderr) -> Path:
    """Return a folder that holds the four files; with `folder` given, only that one is looked at.

    Raises:
        DatasetUnavailableError: nothing was found and nothing could be fetched; says what was tried and what to do.
        DatasetFormatError: a fetched file has the wrong digest.
    """
    if folder is not None:
        if not _is_complete(Path(folder)):
            missing = [name for name in FILES if not (Path(folder) / name).is_file()]
            raise DatasetUnavailableError(f"{folder} does not hold {', '.join(missing)}. {_ways()}")
        return Path(folder)
    for candidate in (SYSTEM_FOLDER, cache_folder()):
        if _is_complete(candidate):
            return candidate
    return _fill_cache(cache_folder(), on_progress)


def cache_folder() -> Path:
    """`espalier/fashion-mnist` under the XDG cache directory."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "espalier" / "fashion-mnist"


def verify(path: Path, content: bytes) -> None:
    """Raise `DatasetFormatError` unless `content` is the published file of that name."""
    known = FILES[path.name]
    actual = hashlib.sha256(content).hexdigest()
    if actual != known.sha256:
        raise DatasetFormatError(
            f"{path} is damaged: SHA-256 {actual} ({len(content)} bytes) instead of {known.sha256} "
            f"({known.size_bytes} bytes). Delete it and try again."
        )


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in FILES)


def _fill_cache(cache: Path, on_progress: OnProgress) -> Path:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache):
            if not _is_complete(cache):
                _fetch_into(cache, on_progress)
    except OSError as error:
        raise DatasetUnavailableError(f"Fashion-MNIST cannot be kept in {cache}: {error}. {_ways()}") from error
    return cache


def _fetch_into(cache: Path, on_progress: OnProgress) -> None:
    failures = []
    for fetch in (_unpack_debian_package, _download):
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
            try:
                source = fetch(Path(scratch), on_progress)
                _install(source, cache)
            except (OSError, subprocess.SubprocessError, http.client.HTTPException, DatasetError) as error:
                failures.append(f"{fetch.__name__.strip('_').replace('_', ' ')}: {_reason(error)}")
            else:
                on_progress(1.0, f"Fashion-MNIST is in {cache}")
                return
    raise DatasetUnavailableError(f"Fashion-MNIST could not be fetched ({'; '.join(failures)}). {_ways()}")


def _unpack_debian_package(scratch: Path, on_progress: OnProgress) -> Path:
    """Download Debian's package as an ordinary user and unpack it in `scratch`."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise DatasetUnavailableError("apt-get or dpkg-deb is not installed")
    on_progress(0.0, f"downloading the Debian package {DEBIAN_PACKAGE} (31 MB)")
    try:
        _run("apt-get", "download", DEBIAN_PACKAGE, folder=scratch)
    except subprocess.CalledProcessError:  # no package lists here, as in a fresh container: use private ones
        on_progress(0.1, "reading apt's package lists")
        private = ("-o", f"Dir::State::Lists={scratch}/lists", "-o", f"Dir::Cache={scratch}/cache")
        for part in ("lists/partial", "cache/archives/partial"):
            (scratch / part).mkdir(parents=True)
        _run("apt-get", *private, "update", folder=scratch)
        _run("apt-get", *private, "download", DEBIAN_PACKAGE, folder=scratch)
    package = next(scratch.glob(f"{DEBIAN_PACKAGE}_*.deb"))
    on_progress(0.8, "unpacking")
    _run("dpkg-deb", "-x", str(package), "unpacked", folder=scratch)
    return scratch / "unpacked" / SYSTEM_FOLDER.relative_to("/")


def _download(scratch: Path, on_progress: OnProgress) -> Path:
    """Download the four files from the project over https; sizes are known, so nothing larger is read."""
    total = sum(known.size_bytes for known in FILES.values())
    done = 0
    for name, known in FILES.items():
        with (
            urllib.request.urlopen(UPSTREAM + name, timeout=TIMEOUT_S) as response,
            (scratch / name).open("wb") as file,
        ):
            left = known.size_bytes + 1
            while chunk := response.read(min(left, 1 << 20)):
                file.write(chunk)
                left -= len(chunk)
                done += len(chunk)
                on_progress(min(done / total, 0.99), f"downloading {name}")
    return scratch


def _install(source: Path, cache: Path) -> None:
    """Move verified files into the cache, each by one rename."""
    for name in FILES:
        verify(source / name, (source / name).read_bytes())
    for name in FILES:
        with (source / name).open("rb") as file:
            os.fsync(file.fileno())
        (source / name).replace(cache / name)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*command: str, folder: Path) -> None:
    subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL
    )


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line for line in str(error.stderr).splitlines() if line.strip()]
        return f"{error.cmd[0]} {error.cmd[-1]} ended with {error.returncode}" + (f" ({lines[-1]})" if lines else "")
    return str(error) or type(error).__name__


def _ways() -> str:
    return (
        f"Ways to provide it: `apt-get install {DEBIAN_PACKAGE}` (puts it in {SYSTEM_FOLDER}); or put the four files "
        f"{', '.join(FILES)} of {UPSTREAM} in {cache_folder()}, or in any folder and pass that folder."
    )
