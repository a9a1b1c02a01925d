"""Row 11: confident rules answer, the network has the rest."""

from __future__ import annotations

from compression_peers.row import Row

ROW = Row(
    number=11,
    title="cascade",
    target="rules answer at least half of the inputs at no more than 0.3 point lost",
)
