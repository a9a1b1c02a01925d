"""The documents operators write: compression jobs and recompression policies, as frozen dataclasses.

Pure: needs PyYAML and nothing else, so that the command line can check a document before anything is sent.
"""

from orchestrator.spec.documents import API_VERSION, Spec, dump, parse, parse_all, parse_job, parse_policy, to_plain
from orchestrator.spec.errors import SpecError
from orchestrator.spec.job import (
    BenchmarkSpec,
    CandidateSpec,
    CascadeSpec,
    CompressionJobSpec,
    DataSpec,
    PruneSpec,
    QuantizedTrainingSpec,
    QuantizeSpec,
    RolloutSpec,
    RulesSpec,
    SearchSpec,
    SpaceSpec,
    StudentSpec,
    TargetSpec,
    TeacherSpec,
)
from orchestrator.spec.policy import (
    AccuracyTrigger,
    BudgetSpec,
    ConfidenceDriftTrigger,
    HysteresisSpec,
    LatencyTrigger,
    RecompressionPolicySpec,
    RepairSpec,
    SamplesSpec,
    TriggersSpec,
)
from orchestrator.spec.reference import KeyReference, list_keys, render_markdown

__all__ = [
    "API_VERSION",
    "AccuracyTrigger",
    "BenchmarkSpec",
    "BudgetSpec",
    "CandidateSpec",
    "CascadeSpec",
    "CompressionJobSpec",
    "ConfidenceDriftTrigger",
    "DataSpec",
    "HysteresisSpec",
    "KeyReference",
    "LatencyTrigger",
    "PruneSpec",
    "QuantizeSpec",
    "QuantizedTrainingSpec",
    "RecompressionPolicySpec",
    "RepairSpec",
    "RolloutSpec",
    "RulesSpec",
    "SamplesSpec",
    "SearchSpec",
    "SpaceSpec",
    "Spec",
    "SpecError",
    "StudentSpec",
    "TargetSpec",
    "TeacherSpec",
    "TriggersSpec",
    "dump",
    "list_keys",
    "parse",
    "parse_all",
    "parse_job",
    "parse_policy",
    "render_markdown",
    "to_plain",
]
