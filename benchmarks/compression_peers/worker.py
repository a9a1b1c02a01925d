"""Runs one peer in its own environment: python -m compression_peers.worker MODULE FOLDER.

The folder holds `job.json` and what `exchange.hand_over` wrote; answers go there too.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from compression_peers.networks import NETWORKS

BATCH = 250


def main(module_name: str, folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    torch.manual_seed(0)
    model = NETWORKS[job["network"]]()
    model.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    model.eval()
    peer = importlib.import_module(f"compression_peers.peers.{module_name}")
    samples = torch.from_numpy(np.load(folder / "samples.npy"))
    started, cpu_started = time.monotonic(), time.process_time()
    if hasattr(peer, "prune"):
        labels = torch.from_numpy(np.load(folder / "labels.npy"))
        pruned = peer.prune(model, samples, labels, job["fraction"])
        report = {"seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - cpu_started}
        torch.save(pruned.state_dict(), folder / "pruned.pt")
    else:
        predict, size_bytes = peer.quantize(model, samples, folder)
        report = {
            "seconds": time.monotonic() - started,
            "cpu_seconds": time.process_time() - cpu_started,
            "size_bytes": size_bytes,
        }
        test = torch.from_numpy(np.load(folder / "test.npy"))
        with torch.no_grad():
            answers = torch.cat([predict(batch).argmax(dim=1) for batch in test.split(BATCH)])
        np.save(folder / "answers.npy", answers.numpy())
    (folder / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
