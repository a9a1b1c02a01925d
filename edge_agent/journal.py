"""The agent's life on disk: written before each step takes effect, read once at the start.

One JSON document with its own checksum, replaced as a whole, so that a crash leaves the old or the new life and never a
mixture. The one before is kept beside it: should a disk return garbage, the agent steps back by one transition instead
of forgetting which model it may serve.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.crashpoints import reach
from edge_agent.disk import sync_directory, write_beside
from edge_agent.errors import JournalError
from edge_agent.life import Assignment, Life, ModelRef, ProbationTerms, Report, State

logger = logging.getLogger(__name__)

VERSION = 1
SIZE_LIMIT_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What was found at the start."""

    life: Life
    spent_s: float
    """Time already spent in the life's state."""
    was_clean: bool
    """The process before said goodbye; it did not crash and was not killed."""


class Journal:
    """Not safe for two processes: the agent holds a lock on its state folder."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "journal.json"
        self._before = directory / "journal.before.json"

    def write(self, life: Life, now: float, *, is_clean_end: bool = False) -> None:
        """Make `life` what a restart finds. When this returns it is durable."""
        document = {
            "version": VERSION,
            "was_clean": is_clean_end,
            "spent_s": max(0.0, now - life.entered_at),
            "life": _to_json(life),
        }
        body = json.dumps(document, separators=(",", ":"))
        temporary = write_beside(self._path, f"{zlib.crc32(body.encode()):08x}\n{body}\n".encode())
        reach("journal-written")
        if self._path.exists():
            self._before.unlink(missing_ok=True)
            os.link(self._path, self._before)
        os.replace(temporary, self._path)
        reach("journal-renamed")
        sync_directory(self._path.parent)

    def read(self) -> Entry:
        """The last life written, or a new one where there is none.

        Raises:
            JournalError: files are there, but none can be read; an operator must look, since serving a model that was
                given up or accepting an old generation would both be wrong.
        """
        problems = []
        for path in (self._path, self._before):
            try:
                return self._read(path)
            except FileNotFoundError:
                continue
            except JournalError as error:
                logger.error("%s", error)
                problems.append(error)
        if problems:
            raise JournalError(f"{problems[0]}; remove the folder {self._path.parent} to start this device afresh")
        return Entry(life=Life(), spent_s=0.0, was_clean=True)

    def _read(self, path: Path) -> Entry:
        if path.stat().st_size > SIZE_LIMIT_BYTES:
            raise JournalError(f"{path} is larger than any journal")
        try:
            checksum, body = path.read_text().split("\n", 1)
            body = body.removesuffix("\n")
            if int(checksum, 16) != zlib.crc32(body.encode()):
                raise JournalError(f"{path} is damaged: its checksum does not match")
            document = json.loads(body)
            if document["version"] != VERSION:
                raise JournalError(f"{path} has version {document['version']}, this agent reads version {VERSION}")
            return Entry(
                life=_from_json(document["life"]),
                spent_s=float(document["spent_s"]),
                was_clean=bool(document["was_clean"]),
            )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise JournalError(f"{path} is damaged: {error!r}") from error


def _to_json(life: Life) -> dict[str, Any]:
    document = dataclasses.asdict(life)
    document["pairs"] = base64.b64encode(life.pairs).decode()
    for report, written in zip(life.outbox, document["outbox"], strict=True):
        written["pairs"] = base64.b64encode(report.pairs).decode()
    return document


def _from_json(document: dict[str, Any]) -> Life:
    fields = dict(document)
    fields["state"] = State(fields["state"])
    fields["assignment"] = _assignment(fields["assignment"])
    for name in ("current", "previous", "broken"):
        fields[name] = _model(fields[name])
    fields["pairs"] = base64.b64decode(fields["pairs"], validate=True)
    fields["outbox"] = tuple(_report(report) for report in fields["outbox"])
    return Life(**fields)


def _assignment(document: dict[str, Any] | None) -> Assignment | None:
    if document is None:
        return None
    terms = document["probation"]
    model = _model(document["model"])
    if model is None:
        raise ValueError("an assignment without a model")
    return Assignment(**{**document, "model": model, "probation": ProbationTerms(**terms) if terms else None})


def _model(document: dict[str, Any] | None) -> ModelRef | None:
    if document is None:
        return None
    model = ModelRef(**document)
    if len(bytes.fromhex(model.digest)) != 32:
        raise ValueError(f"not a SHA-256 digest: {model.digest!r}")
    return model


def _report(document: dict[str, Any]) -> Report:
    pairs = base64.b64decode(document["pairs"], validate=True)
    return Report(**{**document, "state": State(document["state"]), "pairs": pairs})
