"""Looks at telemetry by every policy in force, and turns what policy decides into a decision record and a job."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from orchestrator.controllers.observation import Observation, Observer
from orchestrator.controllers.repair_jobs import NoRepairError, repair_job
from orchestrator.controllers.streaks import load_streaks, store_streaks
from orchestrator.policy.outcomes import RUNNING, follow_decision
from orchestrator.policy.recompression import Keep, Recompress, Streak, decide
from orchestrator.records import Decision, Policy
from orchestrator.spec import RecompressionPolicySpec, SpecError, parse_job, parse_policy
from orchestrator.store import Database, Session

logger = logging.getLogger(__name__)

MIN_PAUSE_S = 0.5
RETENTION_INTERVAL_MS = 60_000


class RecompressionController:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._observer = Observer()
        self._streaks: dict[str, tuple[Streak, ...]] = {}
        self._said: dict[tuple[str, str], str] = {}
        self._next_retention_ms = 0

    async def reconcile(self) -> None:
        await self._follow_decisions()
        specs = [spec for policy in await self._database.read(_policies) if (spec := self._parse(policy))]
        wanted: dict[str, int] = {}
        watched: set[str] = set()
        for spec in specs:
            verdicts = await self._judge(spec)
            for verdict in verdicts:
                self._say(spec, verdict)
                watched.add(verdict.device_id)
                if isinstance(verdict, Keep) and verdict.samples_wanted:
                    wanted[verdict.device_id] = max(wanted.get(verdict.device_id, 0), verdict.samples_wanted)
        await self._ask_for_samples(watched, wanted)
        await self._forget_old_samples(specs)

    async def _judge(self, spec: RecompressionPolicySpec) -> tuple[Keep | Recompress, ...]:
        seen = await self._database.read(lambda session: self._observer.observe(session, spec))
        before = self._streaks.get(spec.name)
        if before is None:
            before = await self._database.read(lambda session: load_streaks(session, spec.name))
        verdicts, after = _decide(seen, spec, before)
        for verdict in verdicts:
            if isinstance(verdict, Recompress):
                await self._database.write(partial(_start, spec=spec, verdict=verdict))
        if {(s.device_id, s.model_digest, s.trigger): s.count for s in before} != {
            (s.device_id, s.model_digest, s.trigger): s.count for s in after
        }:
            await self._database.write(lambda session: store_streaks(session, spec.name, after))
        self._streaks[spec.name] = after
        return verdicts

    async def _follow_decisions(self) -> None:
        def changes(session: Session) -> list[Decision]:
            opened = session.decisions.list(outcome=RUNNING)
            return [after for before in opened if (after := _follow(session, before)) != before]

        def write(session: Session) -> None:
            for decision in changes(session):
                session.decisions.put(decision)
                logger.info("decision %s about %s: %s", decision.id, decision.device_id, decision.outcome)

        if await self._database.read(changes):
            await self._database.write(write)

    async def _ask_for_samples(self, watched: Iterable[str], wanted: dict[str, int]) -> None:
        def changes(session: Session) -> dict[str, int]:
            asked = {device_id: session.samples.remaining(device_id) for device_id in watched}
            # A quota that is being used up is left alone; it was set when the need began.
            begin = {device_id: count for device_id, count in wanted.items() if asked[device_id] is None}
            end = {device_id: 0 for device_id, left in asked.items() if left is not None and device_id not in wanted}
            return begin | end

        def write(session: Session) -> None:
            for device_id, count in changes(session).items():
                session.samples.ask(device_id, count)
                logger.info("device %s is asked for %d samples", device_id, count)

        if await self._database.read(changes):
            await self._database.write(write)

    async def _forget_old_samples(self, specs: list[RecompressionPolicySpec]) -> None:
        """Hold to the shortest retention of the policies that watch a device."""
        now_ms = self._database.now_ms()
        if not specs or now_ms < self._next_retention_ms:
            return
        self._next_retention_ms = now_ms + RETENTION_INTERVAL_MS

        def write(session: Session) -> None:
            for stats in session.samples.stats():
                device = session.devices.find(stats.device_id)
                kept_s = [
                    spec.samples.retention_s
                    for spec in specs
                    if device is not None
                    and ("*" in spec.device_classes or device.facts.device_class in spec.device_classes)
                ]
                before_ms = session.now_ms - int(min(kept_s) * 1000) if kept_s else 0
                if stats.oldest_ms < before_ms:
                    session.samples.delete_older(stats.device_id, before_ms=before_ms)

        await self._database.write(write)

    def _parse(self, policy: Policy) -> RecompressionPolicySpec | None:
        try:
            return parse_policy(policy.spec_yaml)
        except SpecError as error:
            self._log_once((policy.name, ""), f"policy {policy.name} cannot be read and is not acted on: {error}")
            return None

    def _say(self, spec: RecompressionPolicySpec, verdict: Keep | Recompress) -> None:
        """Log a reason when it becomes another one; its numbers change with every look."""
        self._log_once(
            (spec.name, verdict.device_id), f"policy {spec.name}, device {verdict.device_id}: {verdict.reason}"
        )

    def _log_once(self, about: tuple[str, str], words: str) -> None:
        shape = re.sub(r"[0-9.]+", "#", words)
        if self._said.get(about) != shape:
            self._said[about] = shape
            logger.info("%s", words)


def _policies(session: Session) -> list[Policy]:
    return session.policies.list()


def _decide(
    seen: Observation, spec: RecompressionPolicySpec, streaks: tuple[Streak, ...]
) -> tuple[tuple[Keep | Recompress, ...], tuple[Streak, ...]]:
    return decide(
        seen.telemetry,
        seen.devices,
        seen.jobs,
        seen.decisions,
        spec,
        seen.samples,
        streaks,
        seen.now_ms,
        in_rollout=seen.in_rollout,
    )


def _start(session: Session, spec: RecompressionPolicySpec, verdict: Recompress) -> None:
    """Record the decision and queue its job; what changed since it was made calls it off."""
    device = session.devices.get(verdict.device_id)
    running = session.decisions.list(policy=spec.name, outcome=RUNNING)
    if device.running_digest != verdict.evidence.model_digest or len(running) >= spec.max_concurrent_jobs:
        return
    decision = Decision(
        id=f"decision-{uuid.uuid4().hex[:8]}",
        policy=spec.name,
        device_id=device.id,
        model_digest=device.running_digest,
        action=verdict.action,
        reason=verdict.reason,
        evidence_json=verdict.evidence_json,
        decided_at_ms=session.now_ms,
    )
    try:
        job = repair_job(session, spec, decision)
    except NoRepairError as error:
        # Kept as a failed decision: it is explained, counts against the budget, and starts the cool-down.
        session.decisions.put(replace(decision, outcome="failed", reason=f"{decision.reason}; but {error}"))
        logger.warning("decision %s about %s cannot be carried out: %s", decision.id, device.id, error)
        return
    session.jobs.put(job)
    session.decisions.put(replace(decision, job_id=job.id))
    logger.info("decision %s: %s of %s: %s", decision.id, decision.action, device.id, decision.reason)


def _follow(session: Session, decision: Decision) -> Decision:
    job = session.jobs.find(decision.job_id)
    rollout = session.rollouts.find(job.rollout_id) if job is not None and job.rollout_id else None
    auto = True
    if job is not None and job.state.is_terminal and rollout is None and job.chosen:
        auto = parse_job(job.spec_yaml).rollout.auto
    return follow_decision(decision, job, rollout, auto_rollout=auto)
