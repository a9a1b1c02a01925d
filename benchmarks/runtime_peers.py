"""Times this project's engine and the runtimes that others use, on the same small networks, in one interleaved run.

    python benchmarks/runtime_peers.py [--quick] [--networks mlp,resnet8] [--peers litert-int8,...] [--format json]

The first run installs the peers into environments of their own and converts the networks, which takes minutes; both are
kept. The last line of the text is `geomean ratio to best peer: X`, of our median to the best peer's: below 1 is faster.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from runtime_peers import environments, report, session
from runtime_peers.catalogue import NETWORKS, OURS, OWN, PEERS
from runtime_peers.conversions import environment_variables
from runtime_peers.environments import BENCHMARKS, BuildError
from runtime_peers.measure import FULL, QUICK

RESULTS = BENCHMARKS / "results"


def main() -> int:
    arguments = parse_arguments()

    def say(message: str) -> None:
        if not arguments.quiet:
            end = "\n" if not sys.stderr.isatty() or message.startswith("==") else ""
            print(f"\r\033[K{message}" if not end else message, end=end, file=sys.stderr, flush=True)

    result = session.run(arguments.networks, arguments.peers, QUICK if arguments.quick else FULL, say)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    write_results(result, say, with_picture=not arguments.no_picture)
    if arguments.format == "json":
        print(json.dumps(result | {"geomean_ratio_to_best_peer": report.geomean_ratio(result)}, indent=2))
    else:
        print(report.text(result))
    return 0 if report.geomean_ratio(result) is not None else 1


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    everything = [*OWN, *PEERS]
    parser.add_argument("--networks", type=_one_of(NETWORKS), default=list(NETWORKS), help=f"of {', '.join(NETWORKS)}")
    parser.add_argument(
        "--peers",
        type=_one_of(everything),
        default=everything,
        help=f"of {', '.join(everything)}; {OURS} always runs",
    )
    parser.add_argument("--quick", action="store_true", help="few samples: shows that it works, not how fast")
    parser.add_argument("--format", choices=["text", "json"], default="text")
    parser.add_argument("--no-picture", action="store_true", help="do not install matplotlib for a picture")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    arguments = parser.parse_args()
    if OURS not in arguments.peers:
        arguments.peers.insert(0, OURS)
    return arguments


def _one_of(known):
    def names(value: str) -> list[str]:
        wanted = [name.strip() for name in value.split(",") if name.strip()]
        for name in wanted:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
        return wanted

    return names


def write_results(result: dict, say, *, with_picture: bool) -> None:
    """`runtime_peers.json` and `runtime_peers.png` in the results folder."""
    RESULTS.mkdir(exist_ok=True)
    data = RESULTS / "runtime_peers.json"
    data.write_text(json.dumps(result, indent=2))
    if not with_picture:
        return
    try:
        python = environments.ensure("plot", say)
        picture: Path = data.with_suffix(".png")
        command = [str(python), "-m", "runtime_peers.picture", str(data), str(picture)]
        subprocess.run(command, env=environment_variables(), check=True, capture_output=True)
        say(f"picture: {picture}")
    except (BuildError, subprocess.CalledProcessError) as error:
        say(f"no picture: {error}")


if __name__ == "__main__":
    sys.exit(main())
