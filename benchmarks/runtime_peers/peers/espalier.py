"""This project: `orchestrator.compression.compress`, run by `edge_agent.runtime` from raw bytes, without numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from runtime_peers.catalogue import LAYERS
from runtime_peers.peers import SAMPLE_COUNT

MODEL = "model.pb"
SPARSITY = 0.75


def convert(network: str, precision: str, folder: Path) -> None:
    from orchestrator.compression.pipeline import compress
    from orchestrator.compression.recipe import Recipe, Rounding
    from runtime_peers import networks

    pixels = networks.calibration_pixels(network)
    splits, model = _as_images(pixels, networks.build(network))
    if precision == "sparse":
        from orchestrator.compression.data import Preprocessing
        from orchestrator.compression.prune.blocks import prune_blocks_by_magnitude

        sparse = prune_blocks_by_magnitude(
            model, splits.calibrate, preprocessing=Preprocessing.of(splits), sparsity=SPARSITY, block_rows=4
        )
        model = sparse.model
    # A layer by itself is about time: there is nothing for compensated rounding to save.
    rounding = Rounding.NEAREST if network in LAYERS else Rounding.AUTO
    recipe = Recipe(weight_bits=4 if precision == "int4" else 8, rounding=rounding, calibration_count=len(pixels))
    artifact = compress(model, splits, recipe, name=network, max_accuracy_drop=None)  # speed alone is measured
    (folder / MODEL).write_bytes(artifact.model)
    for digest, blob in artifact.blobs.items():
        (folder / digest.hex()).write_bytes(blob)
    (folder / "samples.bin").write_bytes(splits.calibrate.inputs[:SAMPLE_COUNT].tobytes())


def _as_images(pixels, model):
    """The calibration inputs as splits of images, and the network; feature vectors become one row of pixels."""
    import numpy as np
    from torch import nn

    from orchestrator.datasets.splits import Split, Splits
    from runtime_peers import networks

    outputs = model(networks.to_tensor(pixels[:1])).shape[-1]
    if pixels.ndim == 2:
        model = nn.Sequential(nn.Flatten(), model).eval()
        pixels = pixels[:, np.newaxis, np.newaxis, :]
    images = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
    calibrate = Split(images, np.zeros(len(images), np.int64))
    none = calibrate.take(slice(0))
    channels = images.shape[-1]
    splits = Splits(
        train=none,
        calibrate=calibrate,
        choose=none,
        certify=none,
        labels=tuple(map(str, range(outputs))),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )
    return splits, model


class Session:
    def __init__(self, folder: Path, threads: int, path: str) -> None:
        from edge_agent.runtime import load_model

        options = _thread_option(load_model, threads) if threads > 1 else {}
        model = (folder / MODEL).read_bytes()
        self._engine = load_model(model, lambda sha: (folder / sha.hex()).read_bytes(), path=path or None, **options)
        self._infer = self._engine.infer_raw
        self.engine_path = self._engine.path

    def call(self) -> object:
        return self._infer(self._sample)

    def bind(self, sample: bytes) -> None:
        self._sample = sample

    def output(self) -> list[float]:
        import array

        return array.array("f", self._engine.dequantize(self.call())).tolist()


def _thread_option(load_model: Callable[..., object], threads: int) -> dict[str, int]:
    import inspect

    if "threads" not in inspect.signature(load_model).parameters:
        raise SystemExit("the engine offers no threads of its own")
    return {"threads": threads}
