"""Row 8: blocks of weights that are zero, and that the engine skips."""

from __future__ import annotations

from compression_peers.row import CNNS, Row

ROW = Row(
    number=8,
    title="60 % block sparsity, 4x4",
    target=(
        "at most 1.0 point on resnet8 and mlp after a CPU minute of KD under the mask, ds-cnn 1.5 after three; "
        "before it 10 better than magnitude"
    ),
    networks=(*CNNS, "mlp"),
)
