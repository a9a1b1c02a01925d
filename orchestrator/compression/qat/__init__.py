"""Quantization-aware training: a network learns with the rounding that devices will do, under its float self.

`train_quantized` takes a float network and gives the same `QuantizedGraph` that quantization without training gives.
"""

from __future__ import annotations

from orchestrator.compression.qat.train import Checkpoints, Saved, train_quantized

__all__ = ["Checkpoints", "Saved", "train_quantized"]
