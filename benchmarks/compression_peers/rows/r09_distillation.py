"""Row 9: a student of a tenth of the teacher's multiplications, with and without the teacher."""

from __future__ import annotations

from compression_peers.row import Row

ROW = Row(
    number=9,
    title="KD at a tenth of the teacher's MACs",
    target=(
        "all labels: 95 % lower bound of the gain above 0 over 5 paired seeds; "
        "with 10 % of the labels at least 1.0 point"
    ),
)
