"""`espalier submit`: check the document, upload the working directory, start the job."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TextIO

import click

from orchestrator.cli.jobs import JOBS
from orchestrator.cli.output import Row
from orchestrator.cli.progress import ProgressBars
from orchestrator.cli.resource import end, show
from orchestrator.cli.session import Session, command
from orchestrator.cli.words import count_of, size
from orchestrator.plain import to_plain
from orchestrator.spec import parse_job
from orchestrator.working_dir import DEFAULT_LIMIT_BYTES, pack


def add_submit(root: click.Group) -> None:
    @command(root, "submit")
    @click.argument("document", metavar="JOB.YAML", type=click.File(encoding="utf-8"))
    @click.option(
        "--working-dir", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path("."),
        show_default=True, help="Folder with the modules that the job names; .espalierignore says what stays out.",
    )  # fmt: skip
    @click.option("--max-bytes", default=DEFAULT_LIMIT_BYTES, show_default=True, help="Refuse a larger folder.")
    @click.option("--request-id", default="", help="Submitting twice with the same id is one job.")
    @click.option("--watch", "is_watched", is_flag=True, help="Follow the job; the exit code says how it ended.")
    async def submit(
        session: Session, document: TextIO, working_dir: Path, max_bytes: int, request_id: str, is_watched: bool
    ) -> None:
        """Start a compression job from a document of kind CompressionJob."""
        text = document.read()
        parse_job(text)
        folder = pack(working_dir, limit_bytes=max_bytes)
        with ProgressBars(session.output.progress) as bars:
            what = f"{count_of(len(folder.files), 'file')}, {size(len(folder.archive))}"
            stat = await session.client.blobs.put(
                folder.archive, on_progress=lambda share: bars.update("upload", share, what)
            )
            job = to_plain(
                await session.client.jobs.submit(
                    text, working_dir_sha256=stat, client_request_id=request_id or uuid.uuid4().hex
                )
            )
        if is_watched:
            session.output.said(f"job {job['id']}; `espalier jobs watch {job['id']}` shows it again")
            job = await follow(session, job["id"])
        show(session, JOBS, job)
        if is_watched:
            end(JOBS, job)


async def follow(session: Session, job_id: str) -> Row:
    """Show a job's progress until it ends."""
    answer = await session.client.jobs.list(limit=1000)
    job = next(to_plain(item) for item in answer.jobs if item.id == job_id)
    with ProgressBars(session.output.progress) as bars:
        bars.update(job["name"], job["progress"], words(job))
        if job["state"] in ("queued", "running"):
            async for event in session.client.jobs.watch(from_revision=answer.revision, id=job_id):
                job = to_plain(event.job)
                bars.update(job["name"], job["progress"], words(job))
                if job["state"] not in ("queued", "running"):
                    break
    return job


def words(job: Row) -> str:
    if job["state"] != "running":
        return f"{job['state']} {job['message']}".strip()
    return " ".join(part for part in (job["stage"], job["message"]) if part)
