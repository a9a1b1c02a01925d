"""Row 5: 2-bit weights, trained with fake quantization under a teacher."""

from __future__ import annotations

from compression_peers.row import Row

ROW = Row(
    number=5,
    title="2-bit weights, QAT with KD",
    target="at most 2.0 points on the depthwise network, under 10 CPU minutes",
    networks=("ds-cnn",),
)
