"""Records to messages and back, for both ends of every call.

Messages that come in have been checked before they get here.
"""

from orchestrator.convert.basics import (
    action_state,
    action_state_from,
    blob_ref,
    class_models,
    job_state,
    job_state_from,
)
from orchestrator.convert.devices import assignment, device, facts, facts_from, pairs, pairs_from
from orchestrator.convert.jobs import (
    benchmark,
    candidate,
    candidate_from,
    driver_job,
    job,
    measurement,
    measurement_from,
    published_model,
    search,
    search_from,
    stage,
)
from orchestrator.convert.loop import decision, policy, rollout, telemetry_summary

__all__ = [
    "action_state",
    "action_state_from",
    "assignment",
    "benchmark",
    "blob_ref",
    "candidate",
    "candidate_from",
    "class_models",
    "decision",
    "device",
    "driver_job",
    "facts",
    "facts_from",
    "job",
    "job_state",
    "job_state_from",
    "measurement",
    "measurement_from",
    "pairs",
    "pairs_from",
    "policy",
    "published_model",
    "rollout",
    "search",
    "search_from",
    "stage",
    "telemetry_summary",
]
