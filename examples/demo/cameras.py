"""The camera applications as the demo sees them: processes whose own scores arrive as JSON lines."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from examples.demo.processes import Processes

CAMERA = Path(__file__).resolve().parent.parent / "camera.py"
CLEAN = "clean"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one camera counted for one model version in one condition; every image once."""

    device: str
    model_version: str
    condition: str
    images: int
    correct: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    returned_for_training: int
    errors: int


class CameraProcess:
    """One camera: keeps the newest score of each (model version, condition)."""

    def __init__(self, device: str, process: asyncio.subprocess.Process) -> None:
        self.device = device
        self._process = process
        self.scores: dict[tuple[str, str], Measured] = {}
        self._reader = asyncio.create_task(self._read())

    def degrade(self) -> None:
        self._process.send_signal(signal.SIGUSR1)

    def score(self, model_version: str, condition: str) -> Measured | None:
        return self.scores.get((model_version, condition))

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            measured = Measured(**json.loads(line))
            self.scores[measured.model_version, measured.condition] = measured


async def start_camera(
    processes: Processes, *, device: str, agent: str, share: str, rate: float, corruption: str
) -> CameraProcess:
    command = [
        *(sys.executable, str(CAMERA), "--agent", agent, "--device", device, "--share", share),
        *("--rate", str(rate), "--corruption", corruption, "--report-every", "1"),
    ]
    return CameraProcess(device, await processes.start(f"{device}-application", command, reads_output=True))
