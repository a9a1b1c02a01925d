"""Row 4: bits chosen layer by layer."""

from __future__ import annotations

from compression_peers.row import Row

ROW = Row(
    number=4,
    title="mixed bits, mean 3.5 or less",
    target="at most 0.7 point without training",
)
