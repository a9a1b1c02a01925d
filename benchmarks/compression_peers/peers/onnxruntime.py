"""ONNX Runtime: static QDQ with its own calibration, uint8 activations, int8 weights per channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from runtime_peers.peers.onnxruntime import MODEL
from runtime_peers.peers.onnxruntime import quantize as quantize_file


def quantize(model, calibrate, folder: Path):
    import onnxruntime as ort

    torch.onnx.export(
        model,
        (calibrate[:1],),
        str(folder / "float.onnx"),
        input_names=["x"],
        output_names=["y"],
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    quantize_file(folder, calibrate.numpy())
    session = ort.InferenceSession(str(folder / MODEL), providers=["CPUExecutionProvider"])

    def predict(x):
        return torch.from_numpy(np.concatenate([session.run(["y"], {"x": one[None]})[0] for one in x.numpy()]))

    return predict, (folder / MODEL).stat().st_size
