"""The words of an agent's life: its states, what can happen to it, and what it then has to do.

Plain frozen data, shared by the state machine (`state.py`), the shell (`agent.py`) and the journal.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.IntEnum):
    """Numbered as on the wire."""

    IDLE = 1
    ASSIGNED = 2
    DOWNLOADING = 3
    VERIFYING = 4
    STAGED = 5
    ACTIVATING = 6
    PROBATION = 7
    COMMITTED = 8
    ROLLED_BACK = 9
    FAILED = 10
    REJECTED = 11


TERMINAL = frozenset({State.COMMITTED, State.ROLLED_BACK, State.FAILED, State.REJECTED})
AT_REST = TERMINAL | {State.IDLE}


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    digest: str
    """SHA-256 of the model's bytes, hexadecimal."""
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class ProbationTerms:
    """When the device itself gives up on a new model; the verdict that it passed is the control plane's."""

    timeout_s: float = 0.0
    max_error_rate: float = 0.0
    max_latency_p95_ms: float = 0.0
    slower_ratio: float = 0.0
    guard_min_requests: int = 0


@dataclass(frozen=True, kw_only=True)
class Assignment:
    generation: int
    action_id: str
    model_name: str
    model: ModelRef
    probation: ProbationTerms | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    action_id: str
    generation: int
    seq: int
    state: State
    detail: str = ""
    pairs: bytes = b""
    """A serialised PairCounts, or nothing."""


@dataclass(frozen=True, kw_only=True)
class Life:
    """Everything that must survive a restart."""

    state: State = State.IDLE
    entered_at: float = 0.0
    generation: int = 0
    """The highest ever accepted."""
    assignment: Assignment | None = None
    """The action under way or, in a terminal state, the last one."""
    current: ModelRef | None = None
    """Serves now, and after a restart without network."""
    previous: ModelRef | None = None
    """Kept, so that going back downloads nothing."""
    broken: ModelRef | None = None
    """Was current until its bytes on this disk no longer verified; waits to be downloaded again."""
    seq: int = 0
    """Of the last report of this action."""
    crashes: int = 0
    was_downloaded: bool = False
    is_activated: bool = False
    """This very process has the new model loaded; a verdict that comes earlier has to wait."""
    pairs: bytes = b""
    outbox: tuple[Report, ...] = ()
    """Reports that the control plane has not acknowledged, oldest first."""


@dataclass(frozen=True, kw_only=True)
class StateTimeouts:
    """How long each state may last before the action fails or, on probation, is rolled back."""

    assigned_s: float = 60.0
    downloading_s: float = 3600.0
    verifying_s: float = 300.0
    staged_s: float = 60.0
    activating_s: float = 120.0
    probation_s: float = 86400.0
    """Where the assignment itself states no timeout."""


# Events. Those that answer an action carry the generation they answer for.


@dataclass(frozen=True)
class Assigned:
    assignment: Assignment


@dataclass(frozen=True)
class Prepared:
    generation: int
    complete: bool
    """Everything the model needs is on this disk already."""


@dataclass(frozen=True)
class Refused:
    """This device will never run this model."""

    generation: int
    reason: str


@dataclass(frozen=True)
class Downloaded:
    generation: int


@dataclass(frozen=True)
class Verified:
    generation: int


@dataclass(frozen=True)
class BlobsMissing:
    """What should have been on the disk is not, or is damaged."""

    generation: int
    reason: str


@dataclass(frozen=True)
class Staged:
    generation: int


@dataclass(frozen=True)
class Activated:
    generation: int


@dataclass(frozen=True)
class WorkFailed:
    generation: int
    reason: str


@dataclass(frozen=True)
class PairsCounted:
    generation: int
    pairs: bytes


@dataclass(frozen=True)
class ProbationPassed:
    """The control plane judged every probation up to this generation passed."""

    generation: int


@dataclass(frozen=True)
class GuardTripped:
    generation: int
    reason: str


@dataclass(frozen=True)
class ReportAcknowledged:
    action_id: str
    seq: int


@dataclass(frozen=True)
class CurrentBroken:
    """The current model on this disk no longer verifies; the previous one serves in its place."""

    digest: str


@dataclass(frozen=True)
class CurrentRestored:
    """The broken model has been downloaded and verified again, and serves."""

    digest: str


@dataclass(frozen=True)
class Tick:
    """Time passed."""


@dataclass(frozen=True)
class Resumed:
    """The process has started with the life it found in the journal.

    spent_s is the time already spent in the state by the clock of the process before.
    """

    was_clean: bool
    spent_s: float


Answer = (
    Prepared
    | Refused
    | Downloaded
    | Verified
    | BlobsMissing
    | Staged
    | Activated
    | WorkFailed
    | PairsCounted
    | GuardTripped
)
Event = Answer | Assigned | ProbationPassed | ReportAcknowledged | CurrentBroken | CurrentRestored | Tick | Resumed


# Actions, performed by the shell in order, after the life has been journalled.


@dataclass(frozen=True)
class Prepare:
    """Check limits and free space. Answers Prepared, Refused or WorkFailed."""

    assignment: Assignment


@dataclass(frozen=True)
class Download:
    """Answers Downloaded, Refused or WorkFailed."""

    assignment: Assignment


@dataclass(frozen=True)
class Verify:
    """Digests, limits and golden vectors on this device. Answers Verified, BlobsMissing, Refused or WorkFailed."""

    assignment: Assignment


@dataclass(frozen=True)
class Stage:
    """Make the verified bytes durable and safe from collection. Answers Staged or WorkFailed."""

    assignment: Assignment


@dataclass(frozen=True)
class Activate:
    """Load the verified model beside the current one. Answers Activated or WorkFailed."""

    assignment: Assignment


@dataclass(frozen=True)
class StartPairing:
    assignment: Assignment
    terms: ProbationTerms
    pairs: bytes
    """Counts so far, where a probation is taken up again."""


@dataclass(frozen=True)
class Promote:
    """Serve the activated model."""

    assignment: Assignment


@dataclass(frozen=True)
class Revert:
    """Drop the activated or half-activated model; the current one serves on."""


@dataclass(frozen=True)
class CancelWork:
    """Stop whatever is under way; its answer would be ignored anyway."""


@dataclass(frozen=True)
class SendReports:
    pass


Work = Prepare | Download | Verify | Stage | Activate
"""What takes a while, and is answered by an event."""

Action = Work | StartPairing | Promote | Revert | CancelWork | SendReports


@dataclass(frozen=True)
class Step:
    life: Life
    actions: tuple[Action, ...] = ()
