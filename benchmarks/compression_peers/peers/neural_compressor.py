"""Intel Neural Compressor: static W8A8 of its PyTorch 2 export path; simulated."""

from __future__ import annotations

from pathlib import Path

import torch


def quantize(model, calibrate, folder: Path):
    from neural_compressor.torch.export import export
    from neural_compressor.torch.quantization import StaticQuantConfig, convert, prepare

    batch = torch.export.Dim("batch", min=1)
    exported = export(model, example_inputs=(calibrate[:2],), dynamic_shapes=({0: batch},))
    prepared = prepare(exported, quant_config=StaticQuantConfig())
    for samples in calibrate.split(64):
        prepared(samples)
    return convert(prepared), 0
