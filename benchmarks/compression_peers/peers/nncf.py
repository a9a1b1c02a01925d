"""NNCF: post-training quantization as it comes, mixed preset; simulated by the torch module that it returns."""

from __future__ import annotations

from pathlib import Path


def quantize(model, calibrate, folder: Path):
    import nncf

    samples = nncf.Dataset(calibrate.split(1))
    return nncf.quantize(model, samples, preset=nncf.QuantizationPreset.MIXED, subset_size=len(calibrate)), 0
