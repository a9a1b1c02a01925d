"""Row 10: a network's answers as rules."""

from __future__ import annotations

from compression_peers.row import Row

ROW = Row(
    number=10,
    title="rules",
    target=(
        "fidelity at least 95 % with 32 rules on the tables (cross-validated), "
        "better than trees of equal size on hard labels, table at most 4 KB"
    ),
    networks=(),
)
