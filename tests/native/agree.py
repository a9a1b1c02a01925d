"""Holds the Python reader to what `fuzz_load` reported: both accept and refuse the same models.

python -m tests.native.agree FILE
"""

from __future__ import annotations

import struct
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.native.cases import MAGIC, REFUSED, judge


def reported(data: bytes) -> Iterator[tuple[str, bytes, int, list[bytes]]]:
    """Name, model, verdict and payloads of each case; none has runs."""
    at = len(MAGIC)

    def number() -> int:
        nonlocal at
        at += 4
        return int(struct.unpack_from("<I", data, at - 4)[0])

    def taken() -> bytes:
        nonlocal at
        size = number()
        at += size
        return data[at - size : at]

    while at < len(data):
        name, model, verdict = taken().decode(), taken(), number()
        payloads = [taken() for _ in range(number())]
        number()
        yield name, model, verdict, payloads


def main() -> None:
    verdicts: Counter[str] = Counter()
    for name, model, verdict, payloads in reported(Path(sys.argv[1]).read_bytes()):
        expected = judge(model, payloads)
        if verdict != expected:
            sys.exit(f"FAILED: {name}: C++ says {verdict}, Python says {expected} (as cases.py numbers verdicts)")
        verdicts["refused" if verdict == REFUSED else "read"] += 1
    print(f"the Python reader agrees: {verdicts['read']} models are read, {verdicts['refused']} are refused")


if __name__ == "__main__":
    main()
