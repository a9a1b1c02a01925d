"""What the control plane knows, as plain data.

Policies take these and return these; the store reads and writes them; services turn them into messages. Nothing here
does I/O. Digests are 64 lower-case hex characters, times are Unix milliseconds, ids are opaque.
"""

from __future__ import annotations

from orchestrator.records.devices import (
    ActionReport,
    ActionState,
    Assignment,
    Device,
    DeviceFacts,
    PairCounts,
    ProbationTerms,
    SampleStats,
)
from orchestrator.records.jobs import (
    Benchmark,
    Candidate,
    Job,
    JobState,
    Measurement,
    PredictedLatency,
    Refusal,
    Search,
    Stage,
    StageOutput,
    Trial,
)
from orchestrator.records.loop import Decision, Event, Policy, WindowTotals
from orchestrator.records.models import PublishedModel
from orchestrator.records.rollouts import (
    ClassModel,
    Gate,
    Rollout,
    RolloutDevice,
    RolloutOutcome,
    RolloutState,
    RolloutTerms,
    Wave,
)

__all__ = [
    "ActionReport",
    "ActionState",
    "Assignment",
    "Benchmark",
    "Candidate",
    "ClassModel",
    "Decision",
    "Device",
    "DeviceFacts",
    "Event",
    "Gate",
    "Job",
    "JobState",
    "Measurement",
    "PairCounts",
    "Policy",
    "PredictedLatency",
    "ProbationTerms",
    "PublishedModel",
    "Refusal",
    "Rollout",
    "RolloutDevice",
    "RolloutOutcome",
    "RolloutState",
    "RolloutTerms",
    "SampleStats",
    "Search",
    "Stage",
    "StageOutput",
    "Trial",
    "Wave",
    "WindowTotals",
]
