"""Converts one network for one runtime, in the environment that has the converter.

    python -m runtime_peers.convert MODULE NETWORK PRECISION FOLDER

Beside the peer's own files, `expected.bin` gets what the float network computes for the samples (float32).
"""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path

import torch

from runtime_peers import networks
from runtime_peers.peers import SAMPLE_COUNT


def main(module: str, network: str, precision: str, folder_name: str) -> None:
    warnings.simplefilter("ignore")
    folder = Path(folder_name)
    importlib.import_module(f"runtime_peers.peers.{module}").convert(network, precision, folder)
    with torch.no_grad():
        outputs = networks.build(network)(networks.to_tensor(networks.calibration_pixels(network)[:SAMPLE_COUNT]))
    (folder / "expected.bin").write_bytes(outputs.numpy().tobytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
