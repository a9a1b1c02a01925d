"""Who calls. The only place that says so: handlers ask `current_device`, never a message.

The identity is what the agent states in its metadata, which is why the agents' port is loopback unless the operator
insists. When devices have certificates, this file alone changes.
"""

from __future__ import annotations

import re
from contextvars import ContextVar

from orchestrator.errors import UnauthenticatedError
from orchestrator.metadata import DEVICE_ID_KEY

DEVICE_ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

_device: ContextVar[str] = ContextVar("device")


def identify(metadata: dict[str, str | bytes]) -> str:
    """The device that a call's metadata names.

    Raises:
        UnauthenticatedError: it names none, or what it names cannot be a device id.
    """
    device_id = metadata.get(DEVICE_ID_KEY)
    if device_id is None:
        raise UnauthenticatedError(f"the call does not say who makes it: send {DEVICE_ID_KEY}")
    if not isinstance(device_id, str) or not DEVICE_ID_PATTERN.fullmatch(device_id):
        raise UnauthenticatedError(
            "a device id is 1 to 63 letters, digits, dots, dashes or underscores, and begins with a letter or digit"
        )
    return device_id


def set_current_device(device_id: str) -> None:
    """For this call's context."""
    _device.set(device_id)


def current_device() -> str:
    return _device.get()
