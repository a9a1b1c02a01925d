"""torchao PT2E with its x86 quantizer's default recipe, which leaves additions and means in float; simulated."""

from __future__ import annotations

from pathlib import Path

import torch


def quantize(model, calibrate, folder: Path):
    from torchao.quantization.pt2e import move_exported_model_to_eval
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    batch = torch.export.Dim("batch", min=1)
    exported = torch.export.export(model, (calibrate[:2],), dynamic_shapes=({0: batch},)).module()
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(exported, quantizer)
    for samples in calibrate.split(64):
        prepared(samples)
    return move_exported_model_to_eval(convert_pt2e(prepared)), 0
