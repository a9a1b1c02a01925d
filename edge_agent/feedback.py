"""Requests that wait for their label: a map bounded in number, in age and in the memory its inputs take."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from edge_agent.config import FeedbackConfig


@dataclass(slots=True)
class PendingLabel:
    digest: str
    """Of the model that answered."""
    predicted: int
    classes: int
    answered_at: float
    answered_at_ms: int
    new_predicted: int | None = None
    """What the version on probation said."""
    probation: object = None
    """The probation that said it; a label for an earlier one must not count in a later one."""
    input: bytes | None = None
    raw: bool = True


class LateLabel(Exception):  # noqa: N818 - tells a caller which counter to use
    """The label came after its request was due to be forgotten."""


class PendingLabels:
    def __init__(self, config: FeedbackConfig) -> None:
        self._config = config
        self._pending: OrderedDict[str, PendingLabel] = OrderedDict()
        self._with_input: OrderedDict[str, PendingLabel] = OrderedDict()
        self._input_bytes = 0

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def input_bytes(self) -> int:
        return self._input_bytes

    def add(self, request_id: str, pending: PendingLabel) -> None:
        """Remember a request; one of the same id is replaced."""
        self._remove(request_id)
        if self._config.max_pending == 0:
            return
        self._pending[request_id] = pending
        if pending.input is not None:
            self._with_input[request_id] = pending
            self._input_bytes += len(pending.input)
        while len(self._pending) > self._config.max_pending:
            self._remove(next(iter(self._pending)))
        while self._input_bytes > self._config.input_bytes:
            self._drop_input(next(iter(self._with_input)))

    def take(self, request_id: str, now: float) -> PendingLabel | None:
        """Give a request out, once; None where it is not known.

        Raises:
            LateLabel: it was known, but the label came too late.
        """
        pending = self._remove(request_id)
        if pending is not None and now - pending.answered_at > self._config.late_after_s:
            raise LateLabel(request_id)
        return pending

    def _remove(self, request_id: str) -> PendingLabel | None:
        pending = self._pending.pop(request_id, None)
        if self._with_input.pop(request_id, None) is not None and pending is not None and pending.input is not None:
            self._input_bytes -= len(pending.input)
        return pending

    def _drop_input(self, request_id: str) -> None:
        pending = self._with_input.pop(request_id)
        if pending.input is not None:
            self._input_bytes -= len(pending.input)
        pending.input = None
