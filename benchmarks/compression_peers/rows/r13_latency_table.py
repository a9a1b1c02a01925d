"""Row 13: latencies added up from a table against those of the whole model."""

from __future__ import annotations

from compression_peers.row import Row

ROW = Row(
    number=13,
    title="latency table",
    target="within 10 % of the measured model for 95 % of 100 configurations",
)
