"""A trained ONNX network as a torch module: a teacher, or what is compressed."""

from __future__ import annotations

from orchestrator.compression.from_onnx.network import OnnxNetwork, load_network

__all__ = ["OnnxNetwork", "load_network"]
