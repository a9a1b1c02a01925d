"""Compresses the same trained networks with this project and with other compressors, and judges the stated targets.

    python benchmarks/compression_peers.py [--quick] [--rows 1,2,6] [--resume] [--format json]

The first run trains the networks and installs the peers into environments of their own; both are kept. Accuracy of
ours is what the engine answers on 10,000 test images. The last line of the text is `targets met: N of M`. A full run
counts all rows, those that are not built too; `--quick` those that two networks, one seed and short training can show.
A run that was cut goes on with `--resume`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import torch
from runtime_peers import environments
from runtime_peers.conversions import environment_variables
from runtime_peers.environments import BENCHMARKS, REPOSITORY, BuildError

sys.path.insert(0, str(REPOSITORY))

from compression_peers import report, session
from compression_peers.archive import Archive
from compression_peers.exchange import threads
from compression_peers.rows import ROWS

RESULTS = BENCHMARKS / "results"
DATA = RESULTS / "compression_peers.json"


def main() -> int:
    arguments = parse_arguments()
    torch.set_num_threads(threads())

    def say(message: str) -> None:
        lasts = message.startswith("==")
        if sys.stderr.isatty():
            print(f"\r\033[K{message}", end="\n" if lasts else "", file=sys.stderr, flush=True)
        elif lasts:
            print(message, file=sys.stderr, flush=True)

    wanted = session.plan(arguments.rows, quick=arguments.quick)
    results = session.run(
        wanted,
        say,
        archive=Archive.of(quick=wanted.quick, seeds=wanted.seeds),
        resume=arguments.resume,
        after_row=lambda results: write(report.plain(wanted, results)),
    )
    result = report.plain(wanted, results)
    write(result)
    draw(result, say)
    print(json.dumps(result, indent=2) if arguments.format == "json" else report.text(wanted, results))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=row_numbers, default=list(ROWS), help="of 1 to 14; all by default")
    parser.add_argument("--quick", action="store_true", help="ResNet-8 and DS-CNN, one seed, short training")
    parser.add_argument(
        "--resume", action="store_true", help="keep rows that earlier runs of these sources measured on this CPU"
    )
    parser.add_argument("--format", choices=["text", "json"], default="text")
    return parser.parse_args()


def row_numbers(value: str) -> list[int]:
    try:
        rows = sorted({int(number) for number in value.split(",")})
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"rows are numbers with commas between them, found {value!r}") from error
    if not set(rows) <= ROWS.keys():
        raise argparse.ArgumentTypeError(f"rows are 1 to {max(ROWS)}, found {value!r}")
    return rows


def write(result: dict) -> None:
    """What there is so far: a run of hours that dies leaves the rows that it finished."""
    RESULTS.mkdir(exist_ok=True)
    DATA.write_text(json.dumps(result, indent=2))


def draw(result: dict, say) -> None:
    """`compression_peers.png` beside the data, if a network was compressed at all."""
    if not result["outcomes"]:
        return
    try:
        python = environments.ensure("plot", say)
        command = [str(python), "-m", "compression_peers.picture", str(DATA), str(DATA.with_suffix(".png"))]
        subprocess.run(command, env=environment_variables(), check=True, capture_output=True)
    except (BuildError, subprocess.CalledProcessError) as error:
        say(f"== no picture: {error}")


if __name__ == "__main__":
    sys.exit(main())
