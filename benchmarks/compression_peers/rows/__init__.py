"""The fourteen rows, by number. How to build one: see the package's docstring."""

from __future__ import annotations

from compression_peers.row import Row
from compression_peers.rows import (
    r01_w8a8,
    r02_w4a8,
    r03_power_of_two,
    r04_mixed_bits,
    r05_two_bits,
    r06_half_macs,
    r07_half_macs_w4a8,
    r08_block_sparsity,
    r09_distillation,
    r10_rules,
    r11_cascade,
    r12_search,
    r13_latency_table,
    r14_what_runs,
)

ROWS: dict[int, Row] = {
    module.ROW.number: module.ROW
    for module in (
        r01_w8a8,
        r02_w4a8,
        r03_power_of_two,
        r04_mixed_bits,
        r05_two_bits,
        r06_half_macs,
        r07_half_macs_w4a8,
        r08_block_sparsity,
        r09_distillation,
        r10_rules,
        r11_cascade,
        r12_search,
        r13_latency_table,
        r14_what_runs,
    )
}
