"""The life of an agent as a pure state machine: (life, event, now) -> (life, actions).

Nothing here touches a clock, a disk or a socket. `agent.py` journals the life that `step` returns and only then
performs the actions, each of which answers with an event. Rules kept here:

- a model activates only after this device verified it; the one before serves until the new one is committed;
- a generation never falls, and a newer one supersedes whatever is under way;
- every state that waits has a timeout, and every action ends in a terminal state that is reported until acknowledged;
- events of an older generation are ignored, so late answers of cancelled work do no harm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from edge_agent.life import (
    AT_REST,
    TERMINAL,
    Action,
    Activate,
    Activated,
    Answer,
    Assigned,
    Assignment,
    BlobsMissing,
    CancelWork,
    CurrentBroken,
    CurrentRestored,
    Download,
    Downloaded,
    Event,
    GuardTripped,
    Life,
    ModelRef,
    PairsCounted,
    Prepare,
    Prepared,
    ProbationPassed,
    ProbationTerms,
    Promote,
    Refused,
    Report,
    ReportAcknowledged,
    Resumed,
    Revert,
    SendReports,
    Stage,
    Staged,
    StartPairing,
    State,
    StateTimeouts,
    Step,
    Tick,
    Verified,
    Verify,
    WorkFailed,
)

CRASH_LIMIT = 3
"""So many unclean ends of the process while a new model is verified, activated or on probation condemn the model."""
OUTBOX_LIMIT = 256


def step(life: Life, event: Event, now: float, timeouts: StateTimeouts) -> Step:
    """Say what `event` makes of `life`; the same life comes back where it changes nothing."""
    match event:
        case Assigned(assignment):
            return _assigned(life, assignment, now)
        case ReportAcknowledged(action_id, seq):
            kept = tuple(r for r in life.outbox if not (r.action_id == action_id and r.seq <= seq))
            return Step(replace(life, outbox=kept)) if len(kept) < len(life.outbox) else Step(life)
        case CurrentBroken(digest):
            return _current_broken(life, digest)
        case CurrentRestored(digest):
            return _current_restored(life, digest)
        case Resumed(was_clean, spent_s):
            return _resumed(replace(life, entered_at=now - spent_s, is_activated=False), was_clean, now)
        case Tick():
            due = deadline(life, timeouts)
            if due is None or now < due:
                return Step(life)
            return _give_up(life, f"timed out in {life.state.name.lower()}", now)
        case ProbationPassed(generation):
            # Cumulative, unlike the other answers: passing a generation passes those before it.
            if life.state is State.PROBATION and life.is_activated and generation >= life.generation:
                return _commit(life, now)
            return Step(life)
    if life.assignment is None or event.generation != life.generation or life.state in AT_REST:
        return Step(life)
    return _answered(life, life.assignment, event, now)


def deadline(life: Life, timeouts: StateTimeouts) -> float | None:
    """When the present state times out; None where it waits for nothing."""
    if life.state in AT_REST or life.assignment is None:
        return None
    if life.state is State.PROBATION:
        terms = life.assignment.probation
        return life.entered_at + ((terms.timeout_s if terms else 0.0) or timeouts.probation_s)
    allowed: float = getattr(timeouts, f"{life.state.name.lower()}_s")
    return life.entered_at + allowed


def candidate(life: Life) -> ModelRef | None:
    """The model under way, if an action is."""
    return life.assignment.model if life.assignment and life.state not in AT_REST else None


def _answered(life: Life, assignment: Assignment, event: Answer, now: float) -> Step:
    match life.state, event:
        case State.ASSIGNED, Prepared(_, True):
            return _verify(life, assignment, now)
        case State.ASSIGNED, Prepared(_, False):
            return _download(life, assignment, now)
        case State.DOWNLOADING, Downloaded():
            return _verify(life, assignment, now)
        case State.VERIFYING, Verified():
            return Step(_enter(life, State.STAGED, now), (Stage(assignment), SendReports()))
        case State.VERIFYING, BlobsMissing(_, reason):
            return _give_up(life, reason, now) if life.was_downloaded else _download(life, assignment, now)
        case State.STAGED, Staged():
            return Step(_enter(life, State.ACTIVATING, now), (Activate(assignment), SendReports()))
        case State.ACTIVATING, Activated():
            return _activated(replace(life, is_activated=True), assignment, now)
        case State.PROBATION, Activated() if life.current is None:
            return _commit(life, now)
        case State.PROBATION, Activated():
            return Step(replace(life, is_activated=True), (StartPairing(assignment, _terms(assignment), life.pairs),))
        case State.PROBATION, PairsCounted(_, pairs):
            counted = replace(life, pairs=pairs)
            return Step(_report(counted, State.PROBATION, ""), (SendReports(),))
        case State.PROBATION, GuardTripped(_, reason):
            return _give_up(life, reason, now)
        case _, WorkFailed(_, reason):
            return _give_up(life, reason, now)
        case State.PROBATION, Refused(_, reason):
            return _give_up(life, reason, now)
        case _, Refused(_, reason):
            return Step(_enter(life, State.REJECTED, now, reason), (Revert(), SendReports()))
    return Step(life)


def _assigned(life: Life, assignment: Assignment, now: float) -> Step:
    if assignment.generation <= life.generation:
        return Step(life)
    actions: list[Action] = []
    if life.state not in AT_REST:
        ended = State.ROLLED_BACK if life.state is State.PROBATION else State.REJECTED
        life = _enter(life, ended, now, f"superseded by generation {assignment.generation}")
        actions += [CancelWork(), Revert()]
    fresh = replace(
        life,
        generation=assignment.generation,
        assignment=assignment,
        seq=0,
        crashes=0,
        was_downloaded=False,
        is_activated=False,
        pairs=b"",
    )
    fresh = _enter(fresh, State.ASSIGNED, now)
    if assignment.model in (life.current, life.previous):
        begun = _verify(fresh, assignment, now)
        return Step(begun.life, (*actions, *begun.actions))
    return Step(fresh, (*actions, Prepare(assignment), SendReports()))


def _download(life: Life, assignment: Assignment, now: float) -> Step:
    entered = _enter(replace(life, was_downloaded=True), State.DOWNLOADING, now)
    return Step(entered, (Download(assignment), SendReports()))


def _verify(life: Life, assignment: Assignment, now: float) -> Step:
    return Step(_enter(life, State.VERIFYING, now), (Verify(assignment), SendReports()))


def _activated(life: Life, assignment: Assignment, now: float) -> Step:
    """A first model has nothing to be paired with, and neither has the one that already serves."""
    if assignment.probation is None or life.current is None or life.current == assignment.model:
        return _commit(life, now)
    entered = _enter(life, State.PROBATION, now)
    return Step(entered, (StartPairing(assignment, assignment.probation, b""), SendReports()))


def _commit(life: Life, now: float) -> Step:
    assert life.assignment is not None
    model = life.assignment.model
    committed = _enter(life, State.COMMITTED, now)
    if model != life.current:
        committed = replace(committed, current=model, previous=life.current, broken=None)
    return Step(committed, (Promote(life.assignment), SendReports()))


def _give_up(life: Life, reason: str, now: float) -> Step:
    ended = State.ROLLED_BACK if life.state is State.PROBATION else State.FAILED
    return Step(_enter(life, ended, now, reason), (CancelWork(), Revert(), SendReports()))


def _resumed(life: Life, was_clean: bool, now: float) -> Step:
    assignment = life.assignment
    if life.state in AT_REST or assignment is None:
        return Step(life, (SendReports(),) if life.outbox else ())
    if not was_clean and life.state in (State.VERIFYING, State.ACTIVATING, State.PROBATION):
        life = replace(life, crashes=life.crashes + 1)
        if life.crashes >= CRASH_LIMIT:
            return _give_up(life, f"the agent ended unexpectedly {life.crashes} times with this model", now)
    work: dict[State, Callable[[Assignment], Action]] = {
        State.ASSIGNED: Prepare,
        State.DOWNLOADING: Download,
        State.VERIFYING: Verify,
        State.STAGED: Stage,
        State.ACTIVATING: Activate,
        State.PROBATION: Activate,
    }
    return Step(life, (work[life.state](assignment), SendReports()))


def _current_broken(life: Life, digest: str) -> Step:
    if life.current is None or life.current.digest != digest:
        return Step(life)
    return Step(replace(life, current=life.previous, previous=None, broken=life.current))


def _current_restored(life: Life, digest: str) -> Step:
    if life.broken is None or life.broken.digest != digest:
        return Step(life)
    return Step(replace(life, current=life.broken, previous=life.current, broken=None))


def _terms(assignment: Assignment) -> ProbationTerms:
    return assignment.probation or ProbationTerms()


def _enter(life: Life, state: State, now: float, detail: str = "") -> Life:
    return _report(replace(life, state=state, entered_at=now), state, detail)


def _report(life: Life, state: State, detail: str) -> Life:
    """Queue a report; of the reports from one probation only the newest is kept, since counts are totals."""
    assert life.assignment is not None
    action_id = life.assignment.action_id
    pairs = life.pairs if state in (State.PROBATION, State.COMMITTED, State.ROLLED_BACK) else b""
    report = Report(
        action_id=action_id, generation=life.generation, seq=life.seq + 1, state=state, detail=detail, pairs=pairs
    )
    kept = life.outbox
    if state is State.PROBATION:
        kept = tuple(r for r in kept if not (r.action_id == action_id and r.state is State.PROBATION))
    return replace(life, seq=report.seq, outbox=_bounded((*kept, report)))


def _bounded(outbox: tuple[Report, ...]) -> tuple[Report, ...]:
    """Drop the oldest report that is not terminal, then the oldest, where there are too many."""
    if len(outbox) <= OUTBOX_LIMIT:
        return outbox
    victim = next((i for i, report in enumerate(outbox) if report.state not in TERMINAL), 0)
    return outbox[:victim] + outbox[victim + 1 :]
