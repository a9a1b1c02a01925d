"""Names, shapes and sizes of the measured networks, and which runtimes are measured; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """A measured network. `input_shape` is without the batch, channels first as torch has it."""

    title: str
    input_shape: tuple[int, ...]
    macs: int
    weights: int


NETWORKS = {
    "mlp": Network("MLP 64-128-64-10", (64,), 17_024, 17_024),
    "fc-autoencoder": Network("FC-AutoEncoder", (640,), 264_192, 264_192),
    "ds-cnn": Network("DS-CNN KWS", (1, 49, 10), 2_656_768, 22_016),
    "mobilenet-v1": Network("MobileNetV1 0.25 VWW", (3, 96, 96), 7_489_664, 208_112),
    "resnet8": Network("ResNet-8", (3, 32, 32), 12_501_632, 77_360),
    "mobilenet-v2": Network("MobileNetV2 1.0 224", (3, 224, 224), 300_774_272, 3_469_760),
}
# Single layers, for our own variants only: what skipped blocks and packed weights gain where they matter most.
LAYERS = {
    "pointwise-256": Network("4 pointwise 256x256 at 14x14", (256, 14, 14), 51_380_224, 262_144),
    "linear-4096": Network("linear 4224x4096", (4224,), 17_301_504, 17_301_504),
}
MEASURED = NETWORKS | LAYERS


@dataclass(frozen=True)
class Peer:
    """One runtime at one precision.

    Attributes:
        module: of `runtime_peers.peers`; converts networks and runs them.
        precision: "int8", "fp32" or, of ours, "int4" (weights) and "sparse" (int8, 75 % of the 4x4 blocks are zero).
        environment: the one of `environments.ENVIRONMENTS` that it runs in.
        path: of our engine, by name, empty for the best one; of others "no-tiles" or empty, see `tiles`.
    """

    module: str
    precision: str
    environment: str
    path: str = ""


OURS = "espalier-int8"
TILE_PATH = "amx_int8"  # of our engine: the one that has more than vectors

PEERS = {
    "litert-int8": Peer("litert", "int8", "litert"),
    "openvino-int8": Peer("openvino", "int8", "onnx-openvino"),
    "ort-int8": Peer("onnxruntime", "int8", "onnx-openvino"),
    "executorch-int8": Peer("executorch", "int8", "executorch"),
    "litert-int8-no-tiles": Peer("litert", "int8", "litert", "no-tiles"),
    "openvino-int8-no-tiles": Peer("openvino", "int8", "onnx-openvino", "no-tiles"),
    "litert-fp32": Peer("litert", "fp32", "litert"),
    "openvino-fp32": Peer("openvino", "fp32", "onnx-openvino"),
    "ort-fp32": Peer("onnxruntime", "fp32", "onnx-openvino"),
    "executorch-fp32": Peer("executorch", "fp32", "executorch"),
}

OWN = {
    OURS: Peer("espalier", "int8", "espalier"),
    "espalier-int4": Peer("espalier", "int4", "espalier"),
    "espalier-sparse": Peer("espalier", "sparse", "espalier"),
}
