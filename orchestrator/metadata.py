"""Names of the metadata that travels beside messages."""

from __future__ import annotations

DEVICE_ID_KEY = "espalier-device-id"
"""Of a call of an agent: which device makes it."""
RETRY_AFTER_KEY = "espalier-retry-after-s"
"""Of an answer RESOURCE_EXHAUSTED: when to try again, in seconds."""
NEXT_SEQ_KEY = "espalier-next-seq"
"""Of an answer FAILED_PRECONDITION to a log that goes on past its end: where to resume."""
