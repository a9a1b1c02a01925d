"""Starts the rollout of what a job has chosen: for a decision's job the device that asked goes first."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import lru_cache

from orchestrator.controllers.rollout_commands import RolloutUnderWayError, start_rollout
from orchestrator.errors import OrchestratorError
from orchestrator.policy.recompression import FASTER_CANDIDATE
from orchestrator.records import Job, JobState, RolloutTerms
from orchestrator.spec import RolloutSpec, parse_job
from orchestrator.store import Session

logger = logging.getLogger(__name__)

RECENT_JOBS = 100
MESSAGE_LIMIT = 2000


def rollout_terms(spec: RolloutSpec) -> RolloutTerms:
    """What a job's `rollout:` section says, as a rollout's terms."""
    return RolloutTerms(
        alpha=spec.alpha,
        non_inferiority_margin=spec.non_inferiority_margin,
        probation_timeout_s=spec.probation_timeout_s,
        slower_ratio=spec.slower_ratio,
        max_slower_fraction=spec.max_slower_fraction,
        max_error_rate=spec.max_error_rate,
        max_latency_p95_ms=spec.max_latency_p95_ms,
        min_pairs=spec.min_pairs,
    )


@lru_cache(maxsize=RECENT_JOBS * 2)
def _rollout_spec(spec_yaml: str) -> RolloutSpec:
    return parse_job(spec_yaml).rollout


def jobs_to_roll_out(session: Session) -> list[Job]:
    """Jobs that have chosen models, want them rolled out, and have no rollout yet."""
    succeeded = session.jobs.list(states=[JobState.SUCCEEDED], limit=RECENT_JOBS)
    return [job for job in succeeded[::-1] if job.chosen and not job.rollout_id and _rollout_spec(job.spec_yaml).auto]


def roll_out_chosen(session: Session) -> None:
    for job in jobs_to_roll_out(session):
        decision = session.decisions.find(job.decision_id) if job.decision_id else None
        try:
            rollout = start_rollout(
                session,
                models=job.chosen,
                terms=rollout_terms(_rollout_spec(job.spec_yaml)),
                requester=decision.device_id if decision is not None else None,
                job_id=job.id,
                decision_id=job.decision_id,
                goal="latency" if job.action == FASTER_CANDIDATE else "accuracy",
            )
        except RolloutUnderWayError:
            continue  # it is tried again when that one has ended
        except OrchestratorError as error:
            logger.warning("job %s: what it chose cannot be rolled out: %s", job.id, error)
            message = f"{job.message}; cannot be rolled out: {error}"[:MESSAGE_LIMIT]
            session.jobs.put(replace(job, chosen=(), message=message, updated_at_ms=session.now_ms))
            continue
        session.jobs.put(replace(job, rollout_id=rollout.id, updated_at_ms=session.now_ms))
