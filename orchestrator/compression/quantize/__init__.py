"""Post-training quantization: a float graph and a few hundred samples become integers, layer by layer.

Two streams of calibration samples run side by side: what each feature map should be, and what it will be on the
device, every earlier layer already in integers. A layer's grid is chosen from the first; its weights are rounded and
its bias is corrected against the second, so that a layer makes good what it can of the errors before it.
"""

from __future__ import annotations

from orchestrator.compression.quantize.sequential import QuantizedGraph, quantize

__all__ = ["QuantizedGraph", "quantize"]
