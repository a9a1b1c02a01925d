"""`espalier jobs`: what is being trained and compressed."""

from __future__ import annotations

from collections.abc import Callable

import click
from rich.table import Table

from orchestrator.cli.output import Column, Row, table
from orchestrator.cli.resource import Resource, add_list, add_show, add_watch, get, show
from orchestrator.cli.session import Session, command
from orchestrator.cli.words import ago, milliseconds, percent, short, size, when
from orchestrator.plain import to_plain


@click.group()
def jobs() -> None:
    """Compression jobs: list, show, watch, cancel."""


def _p95(candidate: Row) -> str:
    return (
        ", ".join(f"{m['device_class']} {milliseconds(m['latency_p95_us'])}" for m in candidate["measurements"]) or "-"
    )


def _if_made(words: Callable[[Row], str]) -> Callable[[Row], str]:
    return lambda candidate: words(candidate) if candidate["model_sha256"] else "-"


CANDIDATE_COLUMNS = (
    Column("candidate", lambda c: c["name"]),
    Column("model", lambda c: short(c["model_sha256"])),
    Column("accuracy", _if_made(lambda c: percent(c["accuracy"])), is_number=True),
    Column("size", _if_made(lambda c: size(c["model_bytes"])), is_number=True),
    Column("RAM", _if_made(lambda c: size(c["peak_ram_bytes"])), is_number=True),
    Column("p95", _p95),
    Column("chosen for", lambda c: ", ".join(c["chosen_for"]) or "-"),
)
VERDICT_COLUMNS = (Column("candidate", lambda v: v["candidate"]), Column("why", lambda v: v["verdict"]))
STAGE_COLUMNS = (
    Column("stage", lambda s: s["name"]),
    Column("took", lambda s: f"{s['duration_s']:.1f} s", is_number=True),
    Column("from", lambda s: "this job" if s["is_own"] else f"cache ({s['job_id']})"),
    Column("outputs", lambda s: ", ".join(output["name"] for output in s["outputs"])),
)


TRIAL_COLUMNS = (
    Column("trial", lambda t: t["name"]),
    Column("accuracy", lambda t: "-" if t["stopped"] else percent(t["accuracy"]), is_number=True),
    Column("size", lambda t: "-" if t["stopped"] else size(t["model_bytes"]), is_number=True),
    Column(
        "predicted p95",
        lambda t: ", ".join(f"{p['device_class']} {milliseconds(p['latency_p95_us'])}" for p in t["latencies"]) or "-",
    ),
    Column("", lambda t: "on the front" if t["on_front"] else t["stopped"] and f"given up: {t['stopped']}"),
)


def search_words(search: Row) -> str:
    """What a search did, in a sentence."""
    trials = search["trials"]
    stopped = sum(bool(trial["stopped"]) for trial in trials)
    front = sum(trial["on_front"] for trial in trials)
    words = f"{len(trials)} of at most {search['trials_wanted']} trials, {front} on the front"
    return f"{words}{f', {stopped} given up before training' if stopped else ''}; ended: {search['ended']}"


def _fields(job: Row) -> list[tuple[str, str]]:
    fields = [
        ("job", job["id"]),
        ("name", job["name"]),
        ("state", job["state"]),
        ("progress", f"{percent(job['progress'])} {job['stage']}"),
        ("message", job["message"] or "-"),
        ("submitted", when(job["created_at_ms"])),
        ("changed", when(job["updated_at_ms"])),
    ]
    optional = (("decision", job["decision_id"]), ("rollout", job["rollout_id"]))
    if job["search"]:
        fields.append(("search", search_words(job["search"])))
    return fields + [(heading, value) for heading, value in optional if value]


def _details(job: Row) -> list[Table]:
    stages = [{**stage, "is_own": stage["job_id"] in ("", job["id"])} for stage in job["stages"]]
    tables = []
    if job["candidates"]:
        verdicts = [
            {"candidate": candidate["name"] if not index else "", "verdict": verdict.strip()}
            for candidate in job["candidates"]
            for index, verdict in enumerate(candidate["verdict"].split(";"))
        ]
        tables += [table(job["candidates"], CANDIDATE_COLUMNS), table(verdicts, VERDICT_COLUMNS)]
    if job["search"]:
        tables.append(table(job["search"]["trials"], TRIAL_COLUMNS))
    if stages:
        tables.append(table(stages, STAGE_COLUMNS))
    return tables


JOBS = Resource(
    plural="jobs",
    item="job",
    key="id",
    columns=(
        Column("job", lambda j: j["id"]),
        Column("name", lambda j: j["name"]),
        Column("state", lambda j: j["state"]),
        Column("progress", lambda j: percent(j["progress"]), is_number=True),
        Column("stage", lambda j: j["stage"]),
        Column("message", lambda j: j["message"]),
        Column("changed", lambda j: ago(j["updated_at_ms"])),
    ),
    fields=_fields,
    details=_details,
    is_over=lambda job: job["state"] not in ("queued", "running"),
    is_good=lambda job: job["state"] == "succeeded",
)
add_list(jobs, JOBS)
add_show(jobs, JOBS)
add_watch(jobs, JOBS)


@command(jobs, "cancel")
@click.argument("name", metavar="JOB")
async def cancel(session: Session, name: str) -> None:
    """Ask a job to stop. A stage that is under way may still end first."""
    job = await get(session, JOBS, name)
    cancelled = to_plain(await session.client.jobs.cancel(job["id"]))
    show(session, JOBS, cancelled)
