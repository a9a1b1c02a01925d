"""Runs a job's driver on a Ray cluster that others operate, through Ray's Jobs API, and follows it there.

`python -m orchestrator.jobs.submission --ray-address http://HEAD:8265 --operator-address HOST:PORT --job-id ID
--attempt N`. This process stands for the driver: it ends when the driver ends, with its exit code, and a SIGTERM to it
stops the driver. Drivers of earlier attempts that still run are stopped first. The cluster's nodes must have this
release of `espalier-edge[orchestrator]` installed and reach the operator address.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import signal
import sys
import time
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

from orchestrator.jobs.driver import EXIT_TRY_AGAIN
from orchestrator.jobs.errors import ClusterError
from orchestrator.jobs.ray_environment import base_environment

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

logger = logging.getLogger(__name__)

_POLL_S = 0.5
_PATIENCE_S = 60.0  # with a head that does not answer
_LOG_LINES = 30


@dataclass(frozen=True, kw_only=True)
class Submission:
    ray_address: str  # of the Jobs API: http://HEAD:8265
    operator_address: str
    job_id: str
    attempt: int

    @property
    def prefix(self) -> str:
        return f"espalier-{self.job_id}-"

    @property
    def submission_id(self) -> str:
        return f"{self.prefix}{self.attempt}"

    def entrypoint(self) -> str:
        arguments = ["--operator-address", self.operator_address, "--job-id", self.job_id]
        arguments += ["--attempt", str(self.attempt), "--ray-address", "auto"]
        return shlex.join(["python", "-m", "orchestrator.jobs.driver", *arguments])


class StopRequestedError(Exception):
    """This process was asked to end."""


def submit_and_follow(submission: Submission) -> int:
    """Returns the driver's exit code.

    Raises:
        ClusterError: the cluster does not take the job, or stopped answering.
    """
    client = _connect(submission.ray_address)
    try:
        _stop_earlier(client, submission)
        client.submit_job(entrypoint=submission.entrypoint(), submission_id=submission.submission_id)
        logger.info("submitted as %s to %s", submission.submission_id, submission.ray_address)
        return _follow(client, submission)
    except StopRequestedError:
        client.stop_job(submission.submission_id)
        return EXIT_TRY_AGAIN
    except (RuntimeError, ConnectionError) as error:
        raise ClusterError(f"Ray's Jobs API at {submission.ray_address}: {error}") from error


def _connect(address: str) -> JobSubmissionClient:
    os.environ.update(base_environment())
    from ray.job_submission import JobSubmissionClient  # reads its environment once

    try:
        return JobSubmissionClient(address)
    except (RuntimeError, ConnectionError) as error:
        raise ClusterError(f"Ray's Jobs API cannot be reached at {address}: {error}") from error


def _stop_earlier(client: JobSubmissionClient, submission: Submission) -> None:
    """They would be refused at their next report; until then they would compute for nobody."""
    for details in client.list_jobs():
        is_earlier = (details.submission_id or "").startswith(submission.prefix)
        if is_earlier and not details.status.is_terminal() and details.submission_id:
            client.stop_job(details.submission_id)


def _follow(client: JobSubmissionClient, submission: Submission) -> int:
    answered_s = time.monotonic()
    while True:
        try:
            details = client.get_job_info(submission.submission_id)
            answered_s = time.monotonic()
        except (RuntimeError, ConnectionError):
            if time.monotonic() - answered_s > _PATIENCE_S:
                raise
        else:
            if details.status.is_terminal():
                print("\n".join(client.get_job_logs(submission.submission_id).splitlines()[-_LOG_LINES:]))
                code = details.driver_exit_code
                logger.info("driver ended as %s: %s", details.status, details.message)
                return code if code is not None else EXIT_TRY_AGAIN
        time.sleep(_POLL_S)


def main(arguments: list[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator.jobs.submission", description="Run a job's driver on a Ray cluster and follow it."
    )
    parser.add_argument("--ray-address", required=True, help="of Ray's Jobs API: http://HEAD:8265")
    parser.add_argument("--operator-address", required=True, help="HOST:PORT, as the cluster's nodes reach it")
    parser.add_argument("--job-id", required=True)
    parser.add_argument("--attempt", type=int, required=True)
    options = parser.parse_args(arguments)

    def stop(number: int, frame: FrameType | None) -> None:
        raise StopRequestedError

    signal.signal(signal.SIGTERM, stop)
    try:
        return submit_and_follow(
            Submission(
                ray_address=options.ray_address,
                operator_address=options.operator_address,
                job_id=options.job_id,
                attempt=options.attempt,
            )
        )
    except ClusterError as error:
        logger.error("%s", error)
        return EXIT_TRY_AGAIN


if __name__ == "__main__":
    sys.exit(main())
