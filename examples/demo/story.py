"""The two phases: what is asked for, what is waited for, what is told, and what is measured on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from examples.demo.cameras import CLEAN, CameraProcess, Measured
from examples.demo.devices import DEGRADED, DEVICES
from examples.demo.fleet import Fleet, Item
from examples.demo.narrator import Narrator
from examples.demo.tables import candidates_table, waves_table
from orchestrator.cli.progress import ProgressBars
from orchestrator.cli.submit import words
from orchestrator.cli.words import count_of, percent, short

EXAMPLE = Path(__file__).resolve().parent.parent / "fashion_mnist"
JOB_TIMEOUT_S = 420.0
ROLLOUT_TIMEOUT_S = 180.0
DECISION_TIMEOUT_S = 150.0
MEASURE_TIMEOUT_S = 90.0
SETTLE_TIMEOUT_S = 30.0
IMAGES_WANTED = 400
"""Images that a camera must have counted before its accuracy is stated."""


class StoryError(Exception):
    """A step ended otherwise than the demo needs."""


@dataclass
class Record:
    """What happened in this run, for the claims."""

    condition: str  # what the degraded camera sees, as it says itself
    first_job: Item = field(default_factory=dict)
    first_rollout: Item = field(default_factory=dict)
    decision: Item = field(default_factory=dict)
    decision_replays: bool = False
    samples: int = 0
    repair_job: Item = field(default_factory=dict)
    repair_rollout: Item = field(default_factory=dict)
    measured: list[Measured] = field(default_factory=list)


class Story:
    def __init__(self, fleet: Fleet, narrator: Narrator, cameras: list[CameraProcess], condition: str) -> None:
        self._fleet = fleet
        self._narrator = narrator
        self._cameras = {camera.device: camera for camera in cameras}
        self.record = Record(condition=condition)

    async def phase_one(self) -> None:
        """Train, compress, measure on the devices, choose, roll out."""
        tell, record = self._narrator, self.record
        tell.chapter("Phase 1: from a teacher to three devices")
        job_id = await self._fleet.submit((EXAMPLE / "job.yaml").read_text(), EXAMPLE)
        tell.say(f"Job {job_id}: a teacher learns, a student is distilled from it, four candidates are compressed")
        record.first_job = await self._follow_job(job_id)
        self._show_candidates(record.first_job)
        record.first_rollout = await self._follow_rollout(record.first_job["rollout_id"])
        tell.say("Each device has verified its model and serves it. Cameras show images and tell labels a second later")
        await self._measure({device.id: CLEAN for device in DEVICES})

    async def phase_two(self) -> None:
        """Degrade one camera; the loop notices, decides, compresses again with its images, and rolls out."""
        tell, record = self._narrator, self.record
        tell.chapter(f"Phase 2: the world changes for {DEGRADED.id}")
        await self._fleet.apply_policy((EXAMPLE / "policy.yaml").read_text())
        self._cameras[DEGRADED.id].degrade()
        tell.say(f"The camera of {DEGRADED.id} degrades: {record.condition}. Nobody tells the control plane")
        decision = await self._fleet.first_decision(DECISION_TIMEOUT_S)
        record.decision_replays = await self._fleet.replays(decision["id"])
        before = self._cameras[DEGRADED.id].score(decision["model_sha256"], record.condition)
        if before is None:
            raise StoryError(f"the loop decided about {decision['device_id']} before its camera had degraded")
        record.measured.append(before)
        tell.say(f"The loop noticed: {decision['reason']}", style="yellow")
        record.samples = (await self._fleet.sample_counts()).get(DEGRADED.id, 0)
        tell.say(f"It compresses again, with {count_of(record.samples, 'labelled image')} from {DEGRADED.id}")
        decision = await self._field("decision", decision["id"], "job_id", "the decision to start a job")
        record.repair_job = await self._follow_job(decision["job_id"])
        self._show_candidates(record.repair_job)
        record.repair_rollout = await self._follow_rollout(record.repair_job["rollout_id"])
        record.decision = await self._outcome(decision["id"])
        tell.say("The cameras count again, with the model that each device runs now")
        conditions = {device.id: CLEAN for device in DEVICES} | {DEGRADED.id: record.condition}
        await self._measure(conditions)

    async def _field(self, kind: str, item_id: str, name: str, what: str) -> Item:
        """A job or decision, once its field `name` is set: the controllers write it a moment later."""
        look = getattr(self._fleet, kind)

        async def is_set() -> bool:
            return bool((await look(item_id))[name])

        await self._fleet.until(is_set, SETTLE_TIMEOUT_S, what)
        item: Item = await look(item_id)
        return item

    async def _outcome(self, decision_id: str) -> Item:
        async def is_over() -> bool:
            return bool((await self._fleet.decision(decision_id))["outcome"] != "running")

        await self._fleet.until(is_over, SETTLE_TIMEOUT_S, "the decision's outcome")
        return await self._fleet.decision(decision_id)

    async def _follow_job(self, job_id: str) -> Item:
        with self._narrator.bars() as bars:
            job = await self._fleet.last(
                "jobs", job_id, JOB_TIMEOUT_S, lambda item: bars.update(item["name"], item["progress"], words(item))
            )
        if job["state"] != "succeeded":
            raise StoryError(f"job {job_id} {job['state']}: {job['message']}")
        return await self._field("job", job_id, "rollout_id", "the job's rollout to start")

    def _show_candidates(self, job: Item) -> None:
        self._narrator.say(
            "Measured on the devices while nothing trained; (in brackets): the device's limits refuse it"
        )
        self._narrator.show(candidates_table(job))

    async def _follow_rollout(self, rollout_id: str) -> Item:
        with self._narrator.bars() as bars:
            rollout = await self._fleet.last(
                "rollouts", rollout_id, ROLLOUT_TIMEOUT_S, lambda item: _show_waves(bars, item)
            )
        if rollout["state"] != "succeeded":
            self._narrator.show(waves_table(rollout))
            raise StoryError(f"rollout {rollout_id} {rollout['state']}: {rollout['message']}")
        self._narrator.show(waves_table(rollout))
        return rollout

    async def _measure(self, conditions: dict[str, str]) -> None:
        """Wait until each camera has counted enough images of the model that its device runs now."""
        running = {device["id"]: device["running_model_sha256"] for device in await self._fleet.devices()}

        def scores() -> dict[str, Measured | None]:
            return {name: self._cameras[name].score(running[name], condition) for name, condition in conditions.items()}

        with self._narrator.bars() as bars:

            async def is_enough() -> bool:
                for name, score in scores().items():
                    images = score.images if score else 0
                    message = f"{percent(score.accuracy)} of {images} images" if score else ""
                    bars.update(name, min(1.0, images / IMAGES_WANTED), message if bars.is_live else "")
                return all(score is not None and score.images >= IMAGES_WANTED for score in scores().values())

            await self._fleet.until(is_enough, MEASURE_TIMEOUT_S, f"{IMAGES_WANTED} images on each device")
        for name, score in scores().items():
            assert score is not None
            self.record.measured.append(score)
            self._narrator.say(
                f"{name} runs {short(score.model_version)}: {percent(score.accuracy)} of {score.images} images right "
                f"({percent(score.accuracy_low)} to {percent(score.accuracy_high)})"
            )


def _show_waves(bars: ProgressBars, rollout: Item) -> None:
    for wave in rollout["waves"]:
        for device in wave["devices"]:
            if device["generation"]:
                share = _STATE_SHARE.get(device["state"], 0.1)
                bars.update(f"{wave['name']}: {device['device_id']}", share, device["verdict"] or device["state"])


_STATE_SHARE = {
    "downloading": 0.2,
    "verifying": 0.4,
    "staged": 0.5,
    "activating": 0.6,
    "probation": 0.7,
    "committed": 1,
}
