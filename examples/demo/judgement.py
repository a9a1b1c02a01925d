"""Turns the record of a run into claims and the table. A claim that the run did not bear out is stated as not shown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from examples.demo.cameras import CLEAN, Measured
from examples.demo.claims import Claims, Row, render_table
from examples.demo.devices import DEGRADED, DEVICES, DeviceProfile
from examples.demo.fleet import Fleet, Item
from examples.demo.story import IMAGES_WANTED, Record
from orchestrator.cli.words import percent

MARGIN = 0.05
"""What healthy devices may lose, as in the rollout's terms."""


async def judge(record: Record, fleet: Fleet) -> tuple[Claims, Table]:
    models = await fleet.models()
    rows = [
        Row(
            measured=measured,
            p95_us=await fleet.p95_us(measured.device, measured.model_version),
            size_bytes=models[measured.model_version]["size_bytes"],
            decision=_decision(record, measured),
        )
        for measured in record.measured
    ]
    claims = Claims()
    _claim_first_rollout(claims, record)
    _claim_measurements(claims, rows)
    _claim_degradation(claims, record)
    _claim_loop(claims, record)
    _claim_repair(claims, record)
    _claim_healthy(claims, record)
    return claims, render_table(rows)


def _claim_first_rollout(claims: Claims, record: Record) -> None:
    chosen = {c["model_sha256"]: c["chosen_for"] for c in record.first_job["candidates"] if c["chosen_for"]}
    first = [_of(record, device, first=True) for device in DEVICES]
    served = all(
        m is not None and device.device_class in chosen.get(m.model_version, [])
        for device, m in zip(DEVICES, first, strict=True)
    )
    claims.claim("each device served the candidate that was chosen for its class among those measured", served)


def _claim_measurements(claims: Claims, rows: list[Row]) -> None:
    limits = {device.id: device for device in DEVICES}
    states = [_within(row, limits[row.measured.device]) for row in rows]
    claims.claim("every model kept to its device's limits of size and p95", bool(rows) and all(states))
    counted = [row for row in rows if row.measured.images >= min(IMAGES_WANTED, 100)]
    claims.claim(
        "every accuracy is a camera's own count of images that no model was trained on", len(counted) == len(rows)
    )


def _within(row: Row, device: DeviceProfile) -> bool:
    fits = not device.model_bytes or row.size_bytes <= device.model_bytes
    return fits and row.p95_us is not None and row.p95_us <= device.latency_p95_ms * 1000


def _claim_degradation(claims: Claims, record: Record) -> None:
    clean, noisy = _of(record, DEGRADED, first=True), _degraded(record)[0]
    holds = clean is not None and noisy.accuracy_high < clean.accuracy_low
    before = percent(clean.accuracy) if clean else "unknown"
    claims.claim(f"{DEGRADED.id} fell from {before} to {percent(noisy.accuracy)} when its camera degraded", holds)


def _claim_loop(claims: Claims, record: Record) -> None:
    about = record.decision["device_id"] == DEGRADED.id
    claims.claim(f"the loop noticed by itself, and about {DEGRADED.id}", about)
    claims.claim("its decision can be replayed from the stored evidence", record.decision_replays)
    used = record.samples > 0 and record.repair_job["decision_id"] == record.decision["id"]
    claims.claim(f"the repair was trained with {record.samples} labelled images that {DEGRADED.id} returned", used)
    waves = record.repair_rollout["waves"]
    order = [[device["device_id"] for device in wave["devices"]] for wave in waves]
    passed = [all(device["state"] == "committed" for device in wave["devices"]) for wave in waves]
    first = bool(order) and order[0] == [DEGRADED.id] and waves[0]["gate"] == "better" and passed[0]
    claims.claim("the device that asked went first and showed that its repaired model is better", first)
    healthy = len(waves) > 1 and waves[1]["gate"] == "not_worse" and passed[1]
    claims.claim("a healthy device showed that its new model is not worse, before the rest followed", healthy)
    claims.claim("every device ended with a model of the repair", len(passed) > 1 and all(passed))
    improved = record.decision["outcome"] == "improved"
    claims.claim("the decision's outcome is on record as improved", improved)


def _claim_repair(claims: Claims, record: Record) -> None:
    versions = _degraded(record)
    before, after = versions[0], versions[-1]
    recovered = after.model_version != before.model_version and after.accuracy_low > before.accuracy_high
    words = f"{DEGRADED.id} recovered from {percent(before.accuracy)} to {percent(after.accuracy)}, its camera as bad"
    claims.claim(words, recovered)


def _claim_healthy(claims: Claims, record: Record) -> None:
    healthy = [device for device in DEVICES if device is not DEGRADED]
    pairs = [(_of(record, device, first=True), _of(record, device, first=False)) for device in healthy]
    changes = [(first, last) for first, last in pairs if first is not None and last is not None]
    numbers = ", ".join(
        f"{last.device} {percent(first.accuracy)} to {percent(last.accuracy)}" for first, last in changes
    )
    holds = len(changes) == len(healthy) and have_kept_their_accuracy(changes)
    claims.claim(f"the healthy devices lost no more than {percent(MARGIN)} on average: {numbers}", holds)


def have_kept_their_accuracy(changes: Sequence[tuple[Measured, Measured]]) -> bool:
    """Whether devices, each before and after, lost no more than `MARGIN` on average, and none certainly more.

    The images of one device alone leave its accuracy open by four points, as many as may be lost.
    """
    lost = sum(first.accuracy - last.accuracy for first, last in changes) / len(changes)
    certainly_more = any(last.accuracy_high < first.accuracy_low - MARGIN for first, last in changes)
    return lost <= MARGIN and not certainly_more


def _of(record: Record, device: DeviceProfile, *, first: bool) -> Measured | None:
    own = [m for m in record.measured if m.device == device.id and m.condition == CLEAN]
    return (own[0] if first else own[-1]) if own else None


def _degraded(record: Record) -> list[Measured]:
    return [m for m in record.measured if m.device == DEGRADED.id and m.condition == record.condition]


def _decision(record: Record, measured: Measured) -> str:
    for job, rollout, words in (
        (record.repair_job, record.repair_rollout, "repaired"),
        (record.first_job, record.first_rollout, "chosen"),
    ):
        if measured.model_version in {c["model_sha256"] for c in job["candidates"] if c["chosen_for"]}:
            verdict = _verdict(rollout, measured.device)
            verdict = verdict.partition(":")[0].partition(";")[0].partition(" by ")[0]
            if measured.condition == record.condition and words == "chosen":
                return f"below the floor: {record.decision['action'].replace('_', ' ')}"
            return f"{words}, {verdict}" if verdict else words
    return "-"


def _verdict(rollout: Item, device_id: str) -> str:
    for wave in rollout["waves"]:
        for device in wave["devices"]:
            if device["device_id"] == device_id:
                return str(device["verdict"])
    return ""
