"""Brings what a probation counts to the state machine: its guards often, its counts now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edge_agent import life as words
from edge_agent.life import Event, Life, State
from edge_agent.probation import PairedProbation
from edge_agent.serving import ModelHost

GUARD_EVERY_PAIRS = 8


class ProbationWatch:
    """Watches the probation of `host`, if there is one.

    Args:
        life: tells the present one.
        dispatch: takes the events.
        interval_s: between counts, while pairs come.
    """

    def __init__(
        self, host: ModelHost, life: Callable[[], Life], dispatch: Callable[[Event], None], *, interval_s: float
    ) -> None:
        self._host = host
        self._life = life
        self._dispatch = dispatch
        self._interval_s = interval_s
        self._timer: asyncio.TimerHandle | None = None
        self._guarded_at = 0

    def restart(self) -> None:
        """A probation begins."""
        self._guarded_at = 0

    def on_pair(self, probation: PairedProbation) -> None:
        if probation.answered - self._guarded_at >= GUARD_EVERY_PAIRS:
            self._guard(probation)
        if self._timer is None and self._host.probation is not None:
            self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._report)

    def count(self) -> None:
        """Bring the pair counts so far into the life, and with it into the journal and the next report."""
        self.cancel()
        life = self._life()
        if self._host.probation is not None and life.state is State.PROBATION:
            pairs = self._host.probation.to_bytes()
            if pairs != life.pairs:
                self._dispatch(words.PairsCounted(life.generation, pairs))

    def cancel(self) -> None:
        """No count is due any more, until the next pair."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _report(self) -> None:
        self.count()
        if self._host.probation is not None:
            self._guard(self._host.probation)

    def _guard(self, probation: PairedProbation) -> None:
        self._guarded_at = probation.answered
        reason = probation.tripped_guard()
        if reason is not None:
            self.count()
            self._dispatch(words.GuardTripped(self._life().generation, reason))
