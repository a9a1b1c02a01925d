"""The law of action reports: repeats are harmless, what was said is not taken back, an end is an end."""

from __future__ import annotations

from orchestrator.errors import ConflictError
from orchestrator.records import ActionReport


def judge_report(before: ActionReport | None, report: ActionReport) -> bool:
    """Whether `report` says something new.

    Pure. `seq` rises within one action; the last report may come again and changes nothing.

    Raises:
        ConflictError: it goes back in `seq`, uses the last `seq` for another state, or follows a terminal state.
    """
    if before is None:
        return True
    if report.seq == before.seq:
        if report.state is not before.state:
            raise ConflictError(
                f"report {report.seq} of action {report.action_id!r} was {before.state.value}, "
                f"it cannot become {report.state.value}"
            )
        return False
    if report.seq < before.seq:
        raise ConflictError(f"report {report.seq} of action {report.action_id!r} comes after report {before.seq}")
    if before.state.is_terminal:
        raise ConflictError(
            f"action {report.action_id!r} ended as {before.state.value}; it cannot become {report.state.value}"
        )
    return True
