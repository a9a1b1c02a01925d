"""Lowering: recorded integers become the bytes of a model, the same bytes everywhere."""

from __future__ import annotations

from orchestrator.compression.lower.model import lower

__all__ = ["lower"]
