"""An application on a device: shows real test images to the local agent and tells the true labels a little later.

    python examples/camera.py --agent 127.0.0.1:8001 --model fashion --share 0/3 --device porch

It speaks the Open Inference Protocol, as any application would, and the `Feedback` call beside it. It shows only images
of the field split, and of those only its own share, so that no two cameras show the same image. An image that the agent
keeps for training is never shown again, by anyone. From a moment on (`--degrade-after SECONDS`, or SIGUSR1) the camera
corrupts what it sees, in the stated way.

It measures accuracy by itself, independently of the agent's telemetry, and prints it as JSON lines: for each model
version and condition every image counts once, however often it is shown.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from orchestrator.datasets.corruptions import Corruption
from orchestrator.datasets.fashion_mnist import load_field
from orchestrator.datasets.splits import Split
from protos import inference_pb2 as pb

TIMEOUT_S = 5.0
RETRY_S = 0.5
Z_95 = 1.959964


class LocalAgent:
    """The agent's local API: the stock inference service, and the feedback service beside it."""

    def __init__(self, address: str, model_name: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self._model_name = model_name
        self._input_name = ""

    async def close(self) -> None:
        await self._channel.close()

    async def wait_until_ready(self) -> None:
        """Return once a model is served, however long that takes."""
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                ready = await self._infer("ModelReady", pb.ModelReadyRequest(name=self._model_name))
                if ready.ready:
                    metadata = await self._infer("ModelMetadata", pb.ModelMetadataRequest(name=self._model_name))
                    self._input_name = metadata.inputs[0].name
                    return
            await asyncio.sleep(RETRY_S)

    async def classify(self, image: npt.NDArray[np.uint8]) -> tuple[str, str, int]:
        """Request id, version of the model that answered, predicted class."""
        request = pb.ModelInferRequest(model_name=self._model_name, raw_input_contents=[image.tobytes()])
        request.inputs.add(name=self._input_name, datatype="UINT8", shape=[1, *image.shape])
        answer = await self._infer("ModelInfer", request)
        scores = np.frombuffer(answer.raw_output_contents[0], "<f4")
        return answer.id, answer.model_version, int(scores.argmax())

    async def tell_label(self, request_id: str, label: int) -> bool:
        """Report the truth about an earlier request; True where its image goes back for training."""
        request = pb.LabelRequest(request_id=request_id, label=label)
        answer = await self._call("espalier.inference.v1.Feedback/Label", request, pb.LabelResponse)
        return bool(answer.input_kept)

    async def _infer(self, method: str, request: Any) -> Any:
        return await self._call(f"inference.GRPCInferenceService/{method}", request, getattr(pb, f"{method}Response"))

    async def _call(self, method: str, request: Any, response_type: Any) -> Any:
        call = self._channel.unary_unary(
            f"/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response_type.FromString,
        )
        return await call(request, timeout=TIMEOUT_S)


@dataclass
class Score:
    """What one model version did in one condition; each image counts once."""

    outcomes: dict[int, bool] = field(default_factory=dict)  # image -> was the first answer right

    def add(self, image: int, is_correct: bool) -> None:
        self.outcomes.setdefault(image, is_correct)

    def summary(self) -> dict[str, Any]:
        count, correct = len(self.outcomes), sum(self.outcomes.values())
        low, high = wilson_interval(correct, count)
        return {
            "images": count,
            "correct": correct,
            "accuracy": round(correct / count, 4),
            "accuracy_low": round(low, 4),
            "accuracy_high": round(high, 4),
        }


def wilson_interval(correct: int, count: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927), which stays inside 0..1 and is honest for few images."""
    share = correct / count
    centre = share + Z_95**2 / (2 * count)
    half = Z_95 * math.sqrt(share * (1 - share) / count + Z_95**2 / (4 * count**2))
    scale = 1 + Z_95**2 / count
    return (centre - half) / scale, (centre + half) / scale


class Camera:
    """Shows images one after the other, forgets those that were taken for training, and keeps score."""

    def __init__(self, agent: LocalAgent, split: Split, options: argparse.Namespace) -> None:
        self._agent = agent
        self._split = split
        self._options = options
        self._rng = np.random.default_rng(options.seed)
        self._corruption = Corruption(parse_corruption(options.corruption))
        self.is_degraded = False
        self._scores: dict[tuple[str, str], Score] = {}
        self._returned: set[int] = set()
        self._errors = 0
        self._late_labels: set[asyncio.Task[None]] = set()

    def degrade(self) -> None:
        self.is_degraded = True

    async def run(self) -> None:
        """Show images at the asked rate until cancelled, or until none is left that may be shown."""
        await self._agent.wait_until_ready()
        period_s = 1.0 / self._options.rate
        due = time.monotonic()
        while len(self._returned) < len(self._split):
            for image in self._rng.permutation(len(self._split)):
                if int(image) in self._returned:
                    continue
                await self._show(int(image))
                due = max(due + period_s, time.monotonic())
                await asyncio.sleep(due - time.monotonic())

    async def _show(self, image: int) -> None:
        seen, condition = self._split.inputs[image], "clean"
        if self.is_degraded:
            # A seed for each image: noise differs between images, and an image shown twice is the same image.
            corruption = Corruption(self._corruption.steps, seed=image)
            seen, condition = corruption.apply(seen[np.newaxis])[0], str(corruption)
        try:
            request_id, version, predicted = await self._agent.classify(seen)
        except grpc.aio.AioRpcError:
            self._errors += 1  # an agent that is being restarted; the images go on
            await asyncio.sleep(RETRY_S)
            return
        is_correct = predicted == int(self._split.labels[image])
        self._scores.setdefault((version, condition), Score()).add(image, is_correct)
        task = asyncio.create_task(self._label_later(image, request_id))
        self._late_labels.add(task)
        task.add_done_callback(self._late_labels.discard)

    async def _label_later(self, image: int, request_id: str) -> None:
        """Somebody looks at the picture a moment later and says what it was."""
        await asyncio.sleep(self._options.label_delay)
        with contextlib.suppress(grpc.aio.AioRpcError):  # a label that is lost is not a lost image
            if await self._agent.tell_label(request_id, int(self._split.labels[image])):
                self._returned.add(image)

    def report(self, write: Callable[[str], object]) -> None:
        """One JSON line for each model version and condition."""
        for (version, condition), score in self._scores.items():
            line = {"device": self._options.device, "model_version": version, "condition": condition, **score.summary()}
            line |= {"returned_for_training": len(self._returned), "errors": self._errors}
            write(json.dumps(line) + "\n")


def parse_corruption(text: str) -> tuple[tuple[str, float], ...]:
    """`"gaussian_noise:30,contrast:0.4"` as steps."""
    steps = []
    for part in text.split(","):
        name, _, strength = part.partition(":")
        try:
            steps.append((name.strip(), float(strength)))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{part!r} is not NAME:STRENGTH, e.g. gaussian_noise:30") from None
    return tuple(steps)


def share_of_field(text: str) -> Split:
    """`"0/3"`: every third image of the field split, from the first on."""
    index, _, count = text.partition("/")
    return load_field().take(slice(int(index), None, int(count)))


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--agent", required=True, help="local address of the agent: host:port or unix:/path")
    parser.add_argument("--model", default="fashion", help="name of the model to ask for")
    parser.add_argument("--device", default="camera", help="what to call this device in the output")
    parser.add_argument("--share", default="0/1", help="which images are this camera's: I/N is every N-th from I on")
    parser.add_argument("--rate", type=float, default=20.0, help="images per second")
    parser.add_argument("--label-delay", type=float, default=1.0, help="seconds until the true label is told")
    parser.add_argument("--corruption", default="gaussian_noise:40", help="what degrading means: NAME:STRENGTH,...")
    parser.add_argument("--degrade-after", type=float, help="seconds until the camera degrades; or send SIGUSR1")
    parser.add_argument("--report-every", type=float, default=2.0, help="seconds between JSON lines")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


async def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    agent = LocalAgent(options.agent, options.model)
    camera = Camera(agent, share_of_field(options.share), options)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, camera.degrade)
    shooting = asyncio.create_task(camera.run())
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, shooting.cancel)
    if options.degrade_after is not None:
        loop.call_later(options.degrade_after, camera.degrade)

    def write(line: str) -> None:
        sys.stdout.write(line)
        sys.stdout.flush()

    try:
        while not shooting.done():
            await asyncio.wait([shooting], timeout=options.report_every)
            camera.report(write)
        with contextlib.suppress(asyncio.CancelledError):
            await shooting
    finally:
        await agent.close()


if __name__ == "__main__":
    asyncio.run(main())
