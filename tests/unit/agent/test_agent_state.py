"""The agent's life: single steps told as sentences, and laws held against random histories."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_agent import life as w
from edge_agent.life import Life, ModelRef, ProbationTerms, State, StateTimeouts
from edge_agent.state import CRASH_LIMIT, OUTBOX_LIMIT, deadline, step

TIMEOUTS = StateTimeouts()
A, B, C = (ModelRef(digest=letter * 64, size_bytes=100) for letter in "abc")
TERMS = ProbationTerms(timeout_s=50.0)


def assignment(generation: int, model: ModelRef = A, *, paired: bool = False) -> w.Assignment:
    return w.Assignment(
        generation=generation,
        action_id=f"action-{generation}",
        model_name="digits",
        model=model,
        probation=TERMS if paired else None,
    )


def play(life: Life, *events: w.Event, now: float = 0.0) -> tuple[Life, list[w.Action]]:
    """The life after the events, and the actions of the last one."""
    actions: tuple[w.Action, ...] = ()
    for event in events:
        life, actions = (result := step(life, event, now, TIMEOUTS)).life, result.actions
    return life, list(actions)


def answers(generation: int) -> list[w.Event]:
    return [w.Prepared(generation, False), w.Downloaded(generation), w.Verified(generation), w.Staged(generation)]


def serving(model: ModelRef = A, generation: int = 1) -> Life:
    life, _ = play(Life(), w.Assigned(assignment(generation, model)), *answers(generation), w.Activated(generation))
    assert life.state is State.COMMITTED
    return life


def on_probation() -> Life:
    life, actions = play(serving(), w.Assigned(assignment(2, B, paired=True)), *answers(2), w.Activated(2))
    assert life.state is State.PROBATION
    assert w.StartPairing(assignment(2, B, paired=True), TERMS, b"") in actions
    return life


def test_a_first_model_passes_every_state_and_is_committed():
    states = [report.state.name for report in serving().outbox]
    assert states == ["ASSIGNED", "DOWNLOADING", "VERIFYING", "STAGED", "ACTIVATING", "COMMITTED"]
    assert [report.seq for report in serving().outbox] == [1, 2, 3, 4, 5, 6]


def test_what_is_on_the_disk_already_is_not_downloaded():
    _, actions = play(Life(), w.Assigned(assignment(1)), w.Prepared(1, True))
    assert not any(isinstance(action, w.Download) for action in actions)


def test_going_back_to_the_previous_model_prepares_and_downloads_nothing():
    life, _ = play(serving(A), w.Assigned(assignment(2, B)), *answers(2), w.Activated(2))
    assert (life.current, life.previous) == (B, A)
    life, actions = play(life, w.Assigned(assignment(3, A)))
    assert life.state is State.VERIFYING
    assert [type(action) for action in actions] == [w.Verify, w.SendReports]


def test_a_previous_model_that_is_damaged_is_downloaded_after_all():
    life, _ = play(serving(A), w.Assigned(assignment(2, B)), *answers(2), w.Activated(2))
    life, actions = play(life, w.Assigned(assignment(3, A)), w.BlobsMissing(3, "damaged"))
    assert life.state is State.DOWNLOADING
    assert w.Download(assignment(3, A)) in actions


def test_blobs_that_are_missing_after_a_download_fail_the_action():
    life, _ = play(Life(), w.Assigned(assignment(1)), w.Prepared(1, False), w.Downloaded(1), w.BlobsMissing(1, "gone"))
    assert life.state is State.FAILED


def test_a_probation_that_passes_keeps_the_old_model_for_a_rollback():
    life, actions = play(on_probation(), w.ProbationPassed(2))
    assert life.state is State.COMMITTED
    assert (life.current, life.previous) == (B, A)
    assert w.Promote(assignment(2, B, paired=True)) in actions


def test_a_verdict_waits_until_the_model_is_loaded_again_after_a_restart():
    life, _ = play(on_probation(), w.Resumed(was_clean=True, spent_s=1.0), w.ProbationPassed(2))
    assert life.state is State.PROBATION
    life, _ = play(life, w.Activated(2), w.ProbationPassed(2))
    assert life.state is State.COMMITTED


def test_a_verdict_on_an_earlier_generation_does_not_end_a_probation():
    life, _ = play(on_probation(), w.ProbationPassed(1))
    assert life.state is State.PROBATION


def test_a_guard_rolls_back_and_the_old_model_stays():
    life, actions = play(on_probation(), w.PairsCounted(2, b"counts"), w.GuardTripped(2, "too slow"))
    assert life.state is State.ROLLED_BACK
    assert life.current == A
    assert w.Revert() in actions
    assert life.outbox[-1].detail == "too slow"
    assert life.outbox[-1].pairs == b"counts"


def test_a_probation_times_out_by_its_own_terms():
    life = on_probation()
    assert deadline(life, TIMEOUTS) == 50.0
    assert play(life, w.Tick(), now=49.9)[0].state is State.PROBATION
    assert play(life, w.Tick(), now=50.0)[0].state is State.ROLLED_BACK


def test_time_spent_before_a_restart_counts():
    life, _ = play(on_probation(), w.Resumed(was_clean=True, spent_s=30.0), now=1000.0)
    assert deadline(life, TIMEOUTS) == 1020.0


def test_a_restart_on_probation_activates_again_and_keeps_the_counts():
    life, actions = play(on_probation(), w.PairsCounted(2, b"counts"), w.Resumed(was_clean=True, spent_s=1.0))
    assert w.Activate(assignment(2, B, paired=True)) in actions
    _, actions = play(life, w.Activated(2))
    assert actions == [w.StartPairing(assignment(2, B, paired=True), TERMS, b"counts")]


def test_a_model_that_keeps_crashing_the_agent_is_given_up():
    life = on_probation()
    for _ in range(CRASH_LIMIT - 1):
        life, _ = play(life, w.Resumed(was_clean=False, spent_s=0.0))
        assert life.state is State.PROBATION
    life, _ = play(life, w.Resumed(was_clean=False, spent_s=0.0))
    assert life.state is State.ROLLED_BACK
    assert life.current == A


def test_a_newer_assignment_ends_the_one_under_way_in_a_reported_state():
    life, actions = play(on_probation(), w.Assigned(assignment(3, C)))
    assert life.state is State.ASSIGNED
    assert w.CancelWork() in actions
    assert w.Revert() in actions
    ended = [report for report in life.outbox if report.generation == 2]
    assert ended[-1].state is State.ROLLED_BACK
    assert "superseded by generation 3" in ended[-1].detail


def test_late_answers_of_superseded_work_are_ignored():
    life, _ = play(serving(), w.Assigned(assignment(2, B)), w.Assigned(assignment(3, C)))
    assert play(life, w.Downloaded(2), w.Verified(2), w.WorkFailed(2, "late"))[0] == life


def test_probation_reports_replace_each_other_until_one_is_sent():
    life, _ = play(on_probation(), *[w.PairsCounted(2, bytes([i])) for i in range(50)])
    waiting = [report for report in life.outbox if report.state is State.PROBATION]
    assert [report.pairs for report in waiting] == [bytes([49])]


def test_an_acknowledged_report_is_forgotten():
    life = serving()
    life, _ = play(life, w.ReportAcknowledged("action-1", 4))
    assert [report.seq for report in life.outbox] == [5, 6]
    life, _ = play(life, w.ReportAcknowledged("action-1", 6))
    assert life.outbox == ()


def test_a_broken_current_model_is_replaced_by_the_previous_and_restored():
    life, _ = play(serving(A), w.Assigned(assignment(2, B)), *answers(2), w.Activated(2), w.CurrentBroken(B.digest))
    assert (life.current, life.previous, life.broken) == (A, None, B)
    life, _ = play(life, w.CurrentRestored(B.digest))
    assert (life.current, life.previous, life.broken) == (B, A, None)


MODELS = st.sampled_from([A, B, C])


class AgentLife(RuleBasedStateMachine):
    """Random histories, with answers of any generation and kind at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.life = Life()
        self.now = 0.0
        self.verified: set[tuple[int, ModelRef]] = set()
        self.begun: dict[str, int] = {}
        self.told: dict[str, list[w.Report]] = {}
        self.highest = 0
        self.serves: ModelRef | None = None
        self.loading: ModelRef | None = None
        self.loaded: ModelRef | None = None

    def feed(self, event: w.Event) -> None:
        before = self.life
        result = step(before, event, self.now, TIMEOUTS)
        self.life = result.life
        for action in result.actions:
            self.watch(action)
        if self.life.assignment and self.life.assignment is not before.assignment:
            self.begun[self.life.assignment.action_id] = self.life.generation
        for report in self.life.outbox:
            log = self.told.setdefault(report.action_id, [])
            if not log or report.seq > log[-1].seq:
                log.append(report)

    def watch(self, action: w.Action) -> None:
        match action:
            case w.Activate(wanted):
                assert (wanted.generation, wanted.model) in self.verified, "activated a model that was not verified"
                self.loading = wanted.model
            case w.Promote(wanted):
                assert (wanted.generation, wanted.model) in self.verified, "serves a model that was not verified"
                assert self.loaded == wanted.model, "serves a model that this process has not loaded"
                self.serves = wanted.model
            case w.Revert():
                self.loading = self.loaded = None
            case w.Download(wanted):
                assert wanted.model not in (self.life.current, self.life.previous) or self.life.was_downloaded

    @rule(step_up=st.integers(-2, 3), model=MODELS, paired=st.booleans())
    def assign(self, step_up: int, model: ModelRef, paired: bool) -> None:
        generation = max(0, self.highest + step_up)
        if generation > self.life.generation:
            self.highest = generation
        self.feed(w.Assigned(assignment(generation, model, paired=paired)))

    @rule(lag=st.integers(0, 2), complete=st.booleans())
    def prepared(self, lag: int, complete: bool) -> None:
        self.feed(w.Prepared(self.life.generation - lag, complete))

    @rule(lag=st.integers(0, 2))
    def downloaded(self, lag: int) -> None:
        self.feed(w.Downloaded(self.life.generation - lag))

    @precondition(lambda self: self.life.state is State.VERIFYING)
    @rule()
    def verified_now(self) -> None:
        assert self.life.assignment is not None
        self.verified.add((self.life.generation, self.life.assignment.model))
        self.feed(w.Verified(self.life.generation))

    @rule(lag=st.integers(1, 3))
    def verified_long_ago(self, lag: int) -> None:
        self.feed(w.Verified(self.life.generation - lag))

    @rule(lag=st.integers(0, 1))
    def staged(self, lag: int) -> None:
        self.feed(w.Staged(self.life.generation - lag))

    @rule(lag=st.integers(0, 1))
    def activated(self, lag: int) -> None:
        if lag == 0 and self.loading is None:
            return  # nobody was asked to
        if lag == 0:
            self.loaded, self.loading = self.loading, None
        self.feed(w.Activated(self.life.generation - lag))

    @rule(kind=st.sampled_from([w.WorkFailed, w.Refused, w.BlobsMissing, w.GuardTripped]), lag=st.integers(0, 1))
    def goes_wrong(self, kind: type, lag: int) -> None:
        self.feed(kind(self.life.generation - lag, "for a reason"))

    @rule(pairs=st.binary(max_size=4))
    def counts_pairs(self, pairs: bytes) -> None:
        self.feed(w.PairsCounted(self.life.generation, pairs))

    @rule(lag=st.integers(0, 2))
    def passes(self, lag: int) -> None:
        self.feed(w.ProbationPassed(max(0, self.life.generation - lag)))

    @rule(seconds=st.sampled_from([0.5, 100.0, 5000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.feed(w.Tick())

    @rule(was_clean=st.booleans(), spent_s=st.floats(0, 100))
    def restarts(self, was_clean: bool, spent_s: float) -> None:
        self.now = 5.0
        self.loading = self.loaded = None
        self.feed(w.Resumed(was_clean=was_clean, spent_s=spent_s))

    @precondition(lambda self: self.life.outbox)
    @rule()
    def report_arrives(self) -> None:
        report = self.life.outbox[0]
        self.feed(w.ReportAcknowledged(report.action_id, report.seq))
        assert report not in self.life.outbox

    @invariant()
    def generation_never_falls(self) -> None:
        assert self.life.generation == self.highest

    @invariant()
    def what_serves_is_what_a_restart_would_serve(self) -> None:
        assert self.life.current == self.serves

    @invariant()
    def every_action_that_ended_was_told_so_once_and_last(self) -> None:
        for action_id, log in self.told.items():
            ends = [report for report in log if report.state in w.TERMINAL]
            is_under_way = self.life.assignment is not None and self.life.assignment.action_id == action_id
            if is_under_way and self.life.state not in w.TERMINAL:
                assert ends == []
            else:
                assert len(ends) == 1
                assert log[-1] is ends[0]
        assert set(self.begun) == set(self.told)

    @invariant()
    def whatever_waits_has_a_deadline(self) -> None:
        assert (deadline(self.life, TIMEOUTS) is None) == (self.life.state in w.AT_REST)

    @invariant()
    def the_outbox_is_bounded(self) -> None:
        assert len(self.life.outbox) <= OUTBOX_LIMIT


AgentLife.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAgentLife = AgentLife.TestCase
