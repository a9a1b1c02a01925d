"""Hands a network and samples to a peer in its own environment and takes back what it answers, as plain arrays."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from runtime_peers import environments
from runtime_peers.conversions import environment_variables
from torch import nn

from compression_peers.networks import NETWORKS, with_widths_of
from compression_peers.teachers import Data
from orchestrator.compression.data import images_to_tensor

Say = Callable[[str], None]


@dataclass(frozen=True)
class Peer:
    """`module` of `compression_peers.peers`, and the environment it runs in."""

    title: str
    module: str
    environment: str


QUANTIZERS = (
    Peer("ONNX Runtime static", "onnxruntime", "onnx-openvino"),
    Peer("NNCF", "nncf", "onnx-openvino"),
    Peer("torchao PT2E", "torchao", "executorch"),
    Peer("Neural Compressor", "neural_compressor", "neural-compressor"),
)
TORCH_PRUNING = Peer("Torch-Pruning", "torch_pruning", "torch-pruning")
NNCF_PRUNE = Peer("NNCF unstructured", "nncf_prune", "onnx-openvino")


class PeerError(RuntimeError):
    """A peer could not be installed or failed; the message has its last words."""


@dataclass(frozen=True, eq=False)
class QuantizedByPeer:
    correct: npt.NDArray[np.bool_]  # over `Data.everything`
    size_bytes: int  # 0: only simulated
    seconds: float
    cpu_seconds: float


def quantize(peer: Peer, network: str, model: nn.Module, data: Data, count: int, say: Say) -> QuantizedByPeer:
    """W8A8 by the peer, calibrated on the first `count` samples that ours is calibrated on.

    Raises:
        PeerError: the peer is not there or failed.
    """
    arrays = {
        "samples": _tensor(data, data.splits.calibrate.inputs[:count]),
        "test": _tensor(data, data.everything.inputs),
    }
    with tempfile.TemporaryDirectory() as name:
        report = _run(peer, Path(name), {"network": network}, model, arrays, say)
        correct = np.load(Path(name) / "answers.npy") == data.everything.labels
    return QuantizedByPeer(correct, report["size_bytes"], report["seconds"], report["cpu_seconds"])


def prune(
    peer: Peer, network: str, model: nn.Module, data: Data, fraction: float, count: int, say: Say
) -> tuple[nn.Module, float, float]:
    """The pruned network, not trained yet, and the wall and CPU seconds it took.

    Raises:
        PeerError: the peer is not there or failed.
    """
    split = data.splits.train.take(slice(0, count))
    arrays = {"samples": _tensor(data, split.inputs), "labels": split.labels}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report = _run(peer, folder, {"network": network, "fraction": fraction}, model, arrays, say)
        state = torch.load(folder / "pruned.pt", weights_only=True)
    return with_widths_of(NETWORKS[network](), state).eval(), report["seconds"], report["cpu_seconds"]


def _run(peer: Peer, folder: Path, job: dict, model: nn.Module, arrays: dict[str, np.ndarray], say: Say) -> dict:
    try:
        python = environments.ensure(peer.environment, say)
    except environments.BuildError as error:
        raise PeerError(f"not installed: {error}") from error
    (folder / "job.json").write_text(json.dumps(job))
    torch.save(model.state_dict(), folder / "weights.pt")
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    say(f"{peer.title} on {job['network']}")
    command = [str(python), "-m", "compression_peers.worker", peer.module, str(folder)]
    variables = environment_variables() | {"OMP_NUM_THREADS": str(threads())}
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise PeerError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return json.loads((folder / "report.json").read_text())


def threads() -> int:
    """All CPUs, unless OMP_NUM_THREADS says otherwise."""
    return int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


def _tensor(data: Data, inputs: np.ndarray) -> np.ndarray:
    return images_to_tensor(inputs, data.preprocessing).numpy()
