"""Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747; MIT licence): 60,000 + 10,000 images of 28 x 28, ten classes.

Where the files come from is `fashion_mnist_files`; here they are read, verified and split. The published test images
are used for judging only: half of them certify a model, the other half are what cameras in the field see.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from orchestrator.datasets.errors import DatasetFormatError
from orchestrator.datasets.fashion_mnist_files import FILES, OnProgress, locate, report_to_stderr, verify
from orchestrator.datasets.splits import Split, Splits

LABELS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
MEAN = (0.2860,)  # of the 60,000 training images, pixels in 0..1
STD = (0.3530,)

CALIBRATE_COUNT = 1_000
CHOOSE_COUNT = 5_000
TRAIN_COUNT = 60_000 - CALIBRATE_COUNT - CHOOSE_COUNT
CERTIFY_COUNT = 5_000

_SPLIT_SEED = 20170825  # fixed: which image is in which split never depends on a job


def load_fashion_mnist(
    folder: str | Path | None = None, *, train_count: int = TRAIN_COUNT, on_progress: OnProgress = report_to_stderr
) -> Splits:
    """Return the job's four splits; `train_count` keeps only the first that many of the 54,000 training images.

    Raises:
        DatasetUnavailableError: the files are nowhere and could not be fetched.
        DatasetFormatError: a file's digest is wrong, or `train_count` is out of range.
    """
    if not 1 <= train_count <= TRAIN_COUNT:
        raise DatasetFormatError(f"train_count must be within 1..{TRAIN_COUNT}, found {train_count}")
    root = locate(folder, on_progress=on_progress)
    everything = _read(root, "train")
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(everything))
    calibrate, choose, train = np.split(order, [CALIBRATE_COUNT, CALIBRATE_COUNT + CHOOSE_COUNT])
    certify, _ = _judging(root)
    return Splits(
        train=everything.take(train[:train_count]),
        calibrate=everything.take(calibrate),
        choose=everything.take(choose),
        certify=certify,
        labels=LABELS,
        mean=MEAN,
        std=STD,
    )


def load_field(folder: str | Path | None = None, *, on_progress: OnProgress = report_to_stderr) -> Split:
    """Return the 5,000 test images that cameras see; `certify` has the other 5,000."""
    return _judging(locate(folder, on_progress=on_progress))[1]


def _judging(root: Path) -> tuple[Split, Split]:
    test = _read(root, "t10k")
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(test))
    return test.take(order[:CERTIFY_COUNT]), test.take(order[CERTIFY_COUNT:])


def _read(root: Path, part: str) -> Split:
    images = _read_idx(root / f"{part}-images-idx3-ubyte.gz")
    labels = _read_idx(root / f"{part}-labels-idx1-ubyte.gz")
    return Split(images[..., np.newaxis], labels.astype(np.int64))


def _read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes, as LeCun defined it: magic, big-endian sizes, data."""
    compressed = path.read_bytes()
    verify(path, compressed)
    try:
        data = gzip.decompress(compressed)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetFormatError(f"{path} is not a gzip file") from error
    shape = FILES[path.name].shape
    header_bytes = 4 + 4 * len(shape)
    sizes = tuple(int.from_bytes(data[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(len(shape)))
    if data[:4] != bytes((0, 0, 8, len(shape))) or sizes != shape or len(data) != header_bytes + np.prod(shape):
        raise DatasetFormatError(f"{path} does not hold unsigned bytes of shape {shape}")
    return np.frombuffer(data, np.uint8, offset=header_bytes).reshape(shape)
