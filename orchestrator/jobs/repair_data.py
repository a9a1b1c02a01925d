"""Samples that devices returned, as data to learn from and data to judge by.

Pure. Which sample goes where depends on its content alone, so the same sample is never learned from in one attempt and
judged by in the next. Nothing that is in a split of the job is used: it would be judged by what was learned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from orchestrator.datasets import Features, Split, Splits, concatenate
from orchestrator.jobs.errors import JobFailedError

HELD_OUT_ONE_IN = 4
MIN_TRAIN_SAMPLES = 16


@dataclass(frozen=True)
class ReturnedSample:
    """An input as a device saw it, raw uint8 bytes [H, W, C], with its true label."""

    raw: bytes
    label: int


def raw_of_row(float32: bytes, features: Features) -> bytes:
    """A row of a table as splits have it; empty where it is none."""
    if len(float32) != 4 * len(features.names):
        return b""
    row = np.frombuffer(float32, "<f4")
    return b"" if np.isnan(row).any() else features.codes(row[np.newaxis]).tobytes()


@dataclass(frozen=True, eq=False)
class RepairData:
    train: Split
    held_out: Split
    refused: int  # returned, but of another shape, without raw pixels, unknown label, or in a split already

    def digest(self) -> str:
        return hashlib.sha256(f"{self.train.digest()} {self.held_out.digest()}".encode()).hexdigest()


def divide_returned(
    samples: Iterable[ReturnedSample], splits: Splits, sealed: frozenset[bytes] = frozenset()
) -> RepairData:
    """Divide the returned samples, each distinct input once (its last label counts).

    Args:
        sealed: digests of inputs that are in a split which is not at hand.

    Raises:
        JobFailedError: too few are usable.
    """
    shape = splits.train.sample_shape
    size_bytes = int(np.prod(shape))
    known = sealed.union(*(split.input_digests for split in splits.named().values()))
    usable: dict[bytes, ReturnedSample] = {}
    returned = 0
    for sample in samples:
        returned += 1
        digest = hashlib.blake2b(sample.raw, digest_size=16).digest()
        if len(sample.raw) == size_bytes and 0 <= sample.label < len(splits.labels) and digest not in known:
            usable[digest] = sample
    order = sorted(usable)
    train = [usable[digest] for digest in order if digest[0] % HELD_OUT_ONE_IN]
    held_out = [usable[digest] for digest in order if not digest[0] % HELD_OUT_ONE_IN]
    if len(train) < MIN_TRAIN_SAMPLES or not held_out:
        raise JobFailedError(
            f"{len(usable)} of {returned} returned samples are usable, too few to learn from and to judge by; "
            "raise `samples.minimum` of the policy"
        )
    return RepairData(_split(train, shape), _split(held_out, shape), returned - len(usable))


def mixed_calibration(calibrate: Split, returned: Split, *, seed: int) -> Split:
    """The calibrate split with returned samples among it, so that ranges cover the changed world too.

    Half and half from the start, since a recipe looks at the first samples only.
    """
    count = min(len(calibrate), len(returned))
    chosen = returned.take(np.random.default_rng(seed).permutation(len(returned))[:count])
    paired = np.stack([np.arange(count), len(calibrate) + np.arange(count)], axis=1).reshape(-1)
    order = np.concatenate([paired, np.arange(count, len(calibrate))])
    return concatenate(calibrate, chosen).take(order)


def sample_of(split: Split, count: int, *, seed: int) -> Split:
    """At most `count` samples, drawn by `seed`."""
    if len(split) <= count:
        return split
    return split.take(np.sort(np.random.default_rng(seed).permutation(len(split))[:count]))


def _split(samples: list[ReturnedSample], shape: tuple[int, int, int]) -> Split:
    inputs = np.frombuffer(b"".join(sample.raw for sample in samples), np.uint8).reshape(len(samples), *shape)
    return Split(inputs, np.array([sample.label for sample in samples], np.int64))
