"""Submit a compression job from Python and follow it to its end.

    espalier up                                  # in another terminal
    python examples/submit_job.py                # Fashion-MNIST, minutes
    python examples/submit_job.py --job digits   # scikit-learn's digits, seconds

Exits 0 only if the job succeeded.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import uuid
from pathlib import Path

from orchestrator.client import Client
from orchestrator.errors import OrchestratorError
from orchestrator.plain import to_plain
from orchestrator.working_dir import pack

EXAMPLES = Path(__file__).resolve().parent


async def submit_and_follow(address: str, folder: Path) -> bool:
    """Submit `folder`/job.yaml with `folder` as working directory; True where it succeeded."""
    async with Client(address) as client:
        archive = await client.blobs.put(pack(folder).archive)
        job = await client.jobs.submit(
            (folder / "job.yaml").read_text(encoding="utf-8"),
            working_dir_sha256=archive,
            client_request_id=uuid.uuid4().hex,
        )
        print(f"job {job.id} submitted", flush=True)
        listed = await client.jobs.list(limit=1000)
        row = next(to_plain(item) for item in listed.jobs if item.id == job.id)
        async for event in client.jobs.watch(from_revision=listed.revision, id=job.id):
            row = to_plain(event.job)
            print(f"{row['progress']:4.0%} {row['stage']} {row['message']}", flush=True)
            if row["state"] not in ("queued", "running"):
                break
    for candidate in row["candidates"]:
        chosen = f"chosen for {', '.join(candidate['chosen_for'])}" if candidate["chosen_for"] else candidate["verdict"]
        print(f"  {candidate['name']}: {candidate['accuracy']:.1%}, {candidate['model_bytes']:,} bytes; {chosen}")
    print(f"job {row['id']} {row['state']}: {row['message']}")
    return bool(row["state"] == "succeeded")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--job", choices=["fashion_mnist", "digits"], default="fashion_mnist")
    parser.add_argument("--address", default=os.environ.get("ESPALIER_ADDRESS", "127.0.0.1:7444"))
    options = parser.parse_args()
    try:
        return 0 if asyncio.run(submit_and_follow(options.address, EXAMPLES / options.job)) else 1
    except OrchestratorError as error:
        print(f"error: {error}\nIs the control plane running? Start it with: espalier up", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
