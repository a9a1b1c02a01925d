from __future__ import annotations

import fcntl
import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from orchestrator.datasets import DatasetFormatError, DatasetUnavailableError, LeakError, Split, Splits
from orchestrator.datasets import fashion_mnist_files as files
from orchestrator.datasets.corruptions import CORRUPTIONS, Corruption
from orchestrator.datasets.fashion_mnist import load_fashion_mnist
from orchestrator.datasets.splits import require_disjoint


def images(count: int, *, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 256, (count, 4, 4, 1), np.uint8), rng.integers(0, 3, count).astype(np.int64))


def splits_with(certify: Split) -> Splits:
    return Splits(
        train=images(20, seed=1),
        calibrate=images(5, seed=2),
        choose=images(5, seed=3),
        certify=certify,
        labels=("a", "b", "c"),
        mean=(0.5,),
        std=(0.25,),
    )


def test_a_training_image_planted_among_the_certify_images_is_caught() -> None:
    clean, train = images(5, seed=4), images(20, seed=1)
    planted = Split(np.concatenate([clean.inputs, train.inputs[7:8]]), np.array([0, 0, 0, 0, 0, 2]))
    assert len(splits_with(clean).certify) == 5
    with pytest.raises(LeakError, match="'train' and 'certify' share 1 input"):
        splits_with(planted)


def test_a_leak_is_judged_by_the_image_and_not_by_its_label() -> None:
    split = images(3)
    relabelled = Split(split.inputs, (split.labels + 1) % 3)
    with pytest.raises(LeakError):
        require_disjoint(field=split, returned=relabelled)


def test_a_split_refuses_other_types_shapes_and_unknown_labels() -> None:
    good = images(4)
    with pytest.raises(DatasetFormatError, match="uint8"):
        Split(good.inputs.astype(np.float32), good.labels)  # type: ignore[arg-type]
    with pytest.raises(DatasetFormatError, match="labels must be int64"):
        Split(good.inputs, good.labels[:2])
    with pytest.raises(DatasetFormatError, match="3 classes"):
        splits_with(Split(good.inputs, np.array([0, 1, 2, 3])))


def test_a_split_cannot_be_written_to_and_its_digest_follows_its_content() -> None:
    split = images(4)
    with pytest.raises(ValueError, match="read-only"):
        split.inputs[0, 0, 0, 0] = 1
    assert split.digest() == images(4).digest()
    assert split.digest() != split.take([1, 0, 2, 3]).digest()


def test_digits_come_in_disjoint_splits(digits: Splits) -> None:
    assert {name: len(split) for name, split in digits.named().items()}["train"] == 1000
    assert len(digits.certify) > 300
    assert digits.train.sample_shape == (8, 8, 1)


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_a_corruption_is_repeatable_and_changes_images_without_touching_the_originals(name: str) -> None:
    original = images(6).inputs
    before = original.copy()
    corruption = Corruption(((name, 0.5 if name == "contrast" else 2.0),), seed=3)
    once, again = corruption.apply(original), corruption.apply(original)
    assert once.dtype == np.uint8
    assert once.shape == original.shape
    assert np.array_equal(once, again)
    assert not np.array_equal(once, original)
    assert np.array_equal(original, before)


def test_a_box_blur_is_the_mean_over_the_square_around_each_pixel() -> None:
    image = np.zeros((1, 5, 5, 1), np.uint8)
    image[0, 2, 2, 0] = 90
    blurred = Corruption((("box_blur", 1),)).apply(image)
    assert blurred[0, 1:4, 1:4, 0].tolist() == [[10] * 3] * 3
    assert blurred.sum() == 90


def test_a_corruption_says_what_it_does_and_refuses_unknown_names() -> None:
    assert str(Corruption((("contrast", 0.5), ("gaussian_noise", 15)))) == "contrast(0.5) + gaussian_noise(15)"
    with pytest.raises(ValueError, match="known: gaussian_noise"):
        Corruption((("fog", 1.0),))


def test_a_folder_without_the_files_is_refused_with_every_way_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(DatasetUnavailableError, match="apt-get install dataset-fashion-mnist") as caught:
        load_fashion_mnist(tmp_path)
    assert "train-images-idx3-ubyte.gz" in str(caught.value)
    assert str(files.cache_folder()) in str(caught.value)


def test_a_damaged_file_is_refused_by_its_digest(tmp_path: Path) -> None:
    for name in files.FILES:
        (tmp_path / name).write_bytes(gzip.compress(b"not it"))
    with pytest.raises(DatasetFormatError, match="is damaged"):
        load_fashion_mnist(tmp_path)


def test_a_fetch_that_fails_every_way_says_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(files, "SYSTEM_FOLDER", tmp_path / "absent")
    monkeypatch.setattr(files, "UPSTREAM", (tmp_path / "nowhere").as_uri() + "/")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DatasetUnavailableError, match=r"apt-get or dpkg-deb is not installed.*download: "):
        files.locate(on_progress=lambda fraction, message: None)


def test_the_cache_is_filled_once_verified_and_then_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files stand in for the real ones; nothing is left behind but the four files and a lock."""
    site = tmp_path / "site"
    site.mkdir()
    known = {}
    for name in files.FILES:
        content = f"contents of {name}".encode()
        (site / name).write_bytes(content)
        known[name] = files.KnownFile(len(content), (1,), hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(files, "FILES", known)
    monkeypatch.setattr(files, "UPSTREAM", site.as_uri() + "/")
    monkeypatch.setattr(files, "SYSTEM_FOLDER", tmp_path / "absent")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    messages: list[str] = []
    folder = files.locate(on_progress=lambda fraction, message: messages.append(message))
    assert sorted(path.name for path in folder.iterdir()) == [".lock", *sorted(known)]
    assert any(message.startswith("downloading") for message in messages)
    messages.clear()
    assert files.locate(on_progress=lambda fraction, message: messages.append(message)) == folder
    assert not messages
    with (folder / ".lock").open("w") as lock:  # nobody still holds it
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
