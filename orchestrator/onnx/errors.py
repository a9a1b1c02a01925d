"""What can be wrong with an ONNX file, or with asking for one."""

from __future__ import annotations

from orchestrator.errors import ConfigError, InvalidRequestError


class OnnxError(InvalidRequestError):
    """The file cannot be read or the model cannot be written; the message names the node and says why."""


class OnnxMissingError(ConfigError):
    """The package that reads and writes ONNX is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'espalier-edge[onnx]'")
