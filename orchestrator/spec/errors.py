"""What can be wrong with a document that an operator wrote."""

from __future__ import annotations


class SpecError(ValueError):
    """A job or policy document is malformed; says where, what, and the nearest thing that would have been right.

    `line` counts from 1, 0 where no line is to blame; `key` is the whole path, such as `spec.candidates[1].prune`.
    """

    def __init__(self, message: str, *, line: int = 0, key: str = "", suggestion: str = "") -> None:
        where = f"line {line}: " if line else ""
        what = f"{key}: " if key else ""
        hint = f'; did you mean "{suggestion}"?' if suggestion else ""
        super().__init__(f"{where}{what}{message}{hint}")
        self.message = message
        self.line = line
        self.key = key
        self.suggestion = suggestion
