"""Row 12: the search against the whole of a space that can be enumerated."""

from __future__ import annotations

from compression_peers.row import Row

ROW = Row(
    number=12,
    title="search",
    target=(
        "at least 95 % of the exhaustive front's hypervolume on up to 500 configurations in at most 60 evaluations, "
        "better than random and NSGA-II"
    ),
)
