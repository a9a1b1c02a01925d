"""The driver of one job: a process of its own between the control plane and Ray.

`python -m orchestrator.jobs.driver --operator-address HOST:PORT --job-id ID --attempt N [--data-dir DIR | --ray-address
ADDR]`. With --data-dir, Ray is the embedded cluster of that directory, started where it is not running; with
--ray-address, a cluster that others run. A job may be driven again at any time by a process with a higher attempt: this
one is then told so and stops.

Exit codes: 0 the job has ended and the control plane knows how; 3 somebody newer drives it or it has ended already;
75 it could not go on, try again.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from orchestrator.errors import (
    CorruptBlobError,
    DeadlineError,
    FencedError,
    OrchestratorError,
    ServerError,
    UnavailableError,
)
from orchestrator.jobs.cluster import EmbeddedCluster
from orchestrator.jobs.control_plane import Connection, ControlPlane
from orchestrator.jobs.errors import ClusterError, JobCancelledError
from orchestrator.jobs.ray_environment import base_environment
from orchestrator.jobs.working_dir import unpack_working_dir
from orchestrator.spec import SpecError, parse_job
from protos import operator_pb2

if TYPE_CHECKING:
    from orchestrator.jobs.conclusion import JobOutcome
    from orchestrator.jobs.pipeline import JobPipeline

logger = logging.getLogger(__name__)

EXIT_ENDED = 0
EXIT_FENCED = 3
EXIT_TRY_AGAIN = 75  # EX_TEMPFAIL

_REPORT_INTERVAL_S = 1.0
_WATCH_INTERVAL_S = 0.25
_CLUSTER_RESTARTS = 5


@dataclass(frozen=True, kw_only=True)
class DriverConfig:
    connection: Connection
    data_dir: Path | None = None  # of the control plane whose embedded cluster is used
    ray_address: str = ""
    cluster_restarts: int = 0  # how often this process has begun again because Ray went away


class Driver:
    def __init__(self, config: DriverConfig) -> None:
        self._config = config
        self._control_plane = ControlPlane(config.connection)
        self._cluster = None if config.data_dir is None else EmbeddedCluster(config.data_dir)

    def run(self) -> int:
        """Drive the job to an end that is reported, or say by the exit code why not."""
        try:
            outcome = self._drive()
        except JobCancelledError:
            return self._finish(operator_pb2.JOB_CANCELLED, "cancelled by an operator")
        except FencedError as error:
            logger.warning("stopping: %s", error)
            return EXIT_FENCED
        except ClusterError as error:
            return self._begin_again(error)
        except (UnavailableError, DeadlineError, ServerError, CorruptBlobError) as error:
            logger.error("the control plane does not answer as it should, the job can be resumed: %s", error)
            return EXIT_TRY_AGAIN
        except (OrchestratorError, SpecError) as error:
            return self._finish(operator_pb2.JOB_FAILED, str(error))
        except Exception as error:
            logger.exception("the driver has a bug")
            return self._finish(operator_pb2.JOB_FAILED, f"internal error: {type(error).__name__}: {error}")
        return self._finish(outcome.state, outcome.message, outcome)

    def _drive(self) -> JobOutcome:
        job = self._control_plane.get_job()
        if job.cancel_requested or self._control_plane.report(stage="starting", progress=0.0):
            raise JobCancelledError
        spec = parse_job(job.spec_yaml)
        with self._working_dir() as working_dir:
            unpack_working_dir(self._control_plane.get_blob(job.working_dir_sha256.hex()), working_dir)
            address = self._ray_address()
            from orchestrator.jobs.pipeline import JobPipeline  # imports Ray, which reads its environment once
            from orchestrator.jobs.ray_runner import RayRunner

            runner = RayRunner(self._config.connection, address, working_dir)
            pipeline = JobPipeline(job, spec, self._control_plane, runner)
            return self._supervise(pipeline)

    @contextmanager
    def _working_dir(self) -> Iterator[Path]:
        """An empty folder; embedded, the same one for every attempt, so that a killed one leaves nothing."""
        if self._config.data_dir is None:
            with tempfile.TemporaryDirectory(prefix="espalier-job-") as folder:
                yield Path(folder)
            return
        path = self._config.data_dir.resolve() / "jobs" / self._config.connection.job_id / "working_dir"
        shutil.rmtree(path, ignore_errors=True)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def _ray_address(self) -> str:
        if self._cluster is None:
            os.environ.update(base_environment())
            return self._config.ray_address
        head = self._cluster.start()
        os.environ.update(self._cluster.environment())
        return head.address

    def _supervise(self, pipeline: JobPipeline) -> JobOutcome:
        """Run the pipeline beside a loop that reports, hears of cancellation, and notices when Ray is gone.

        A stage may take long inside Ray; whoever is here can always leave, and Ray ends what a driver that left was
        running.
        """
        worked = _Worked(pipeline)
        worked.start()
        reported_s = 0.0
        while worked.is_alive():
            worked.join(_WATCH_INTERVAL_S)
            if self._cluster is not None and self._cluster.current() is None:
                raise ClusterError("Ray's head on this machine has ended")
            if time.monotonic() - reported_s >= _REPORT_INTERVAL_S and worked.is_alive():
                stage, progress, words = pipeline.progress()
                if self._control_plane.report(stage=stage[:128], progress=progress, message=words):
                    raise JobCancelledError
                reported_s = time.monotonic()
        try:
            return worked.result()
        except FencedError:
            raise
        except Exception as error:
            if self._cluster is not None and not self._cluster.is_healthy():
                raise ClusterError(f"Ray's head on this machine has ended ({error})") from error
            raise

    def _finish(self, state: operator_pb2.JobState, message: str, outcome: JobOutcome | None = None) -> int:
        logger.info("job %s ends as %s: %s", self._config.connection.job_id, operator_pb2.JobState.Name(state), message)
        try:
            self._control_plane.finish(
                state,
                message,
                candidates=outcome.candidates if outcome else (),
                chosen=outcome.chosen if outcome else (),
            )
        except FencedError as error:
            logger.warning("the end is not wanted any more: %s", error)
            return EXIT_FENCED
        except OrchestratorError as error:
            logger.error("the end could not be reported, it will be found again: %s", error)
            return EXIT_TRY_AGAIN
        return EXIT_ENDED

    def _begin_again(self, error: ClusterError) -> int:
        """As the same process and attempt, but with nothing left of a Ray that was lost: it does not reconnect."""
        restarts = self._config.cluster_restarts + 1
        if restarts > _CLUSTER_RESTARTS:
            logger.error("giving up after Ray went away %d times: %s", restarts, error)
            return EXIT_TRY_AGAIN
        logger.warning("resuming: %s", error)
        time.sleep(0.5 * restarts if self._cluster is not None else 5.0)
        return _replace_process(replace(self._config, cluster_restarts=restarts))


class _Worked(threading.Thread):
    """The pipeline in a thread; a daemon, since Ray calls that never answer must not keep the process."""

    def __init__(self, pipeline: JobPipeline) -> None:
        super().__init__(name="pipeline", daemon=True)
        self._pipeline = pipeline
        self._outcome: JobOutcome | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._outcome = self._pipeline.run()
        except BaseException as error:
            self._error = error

    def result(self) -> JobOutcome:
        if self._error is not None:
            raise self._error
        assert self._outcome is not None
        return self._outcome


def _replace_process(config: DriverConfig) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, _command(config))


def _command(config: DriverConfig) -> list[str]:
    connection = config.connection
    command = [sys.executable, "-m", "orchestrator.jobs.driver", "--operator-address", connection.address]
    command += ["--job-id", connection.job_id, "--attempt", str(connection.attempt)]
    if config.data_dir is not None:
        command += ["--data-dir", str(config.data_dir)]
    if config.ray_address:
        command += ["--ray-address", config.ray_address]
    return [*command, "--cluster-restarts", str(config.cluster_restarts)]


def parse_arguments(arguments: list[str] | None = None) -> DriverConfig:
    parser = argparse.ArgumentParser(prog="python -m orchestrator.jobs.driver", description="Drive one job.")
    parser.add_argument("--operator-address", required=True, help="HOST:PORT of the operators' service")
    parser.add_argument("--job-id", required=True)
    parser.add_argument("--attempt", type=int, required=True, help="of this job; the highest one counts")
    parser.add_argument("--data-dir", type=Path, help="of the control plane: use its embedded Ray cluster")
    parser.add_argument("--ray-address", default="", help="of a Ray cluster; wins over --data-dir")
    parser.add_argument("--cluster-restarts", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not options.ray_address and options.data_dir is None:
        parser.error("give --data-dir for the embedded Ray cluster, or --ray-address")
    return DriverConfig(
        connection=Connection(address=options.operator_address, job_id=options.job_id, attempt=options.attempt),
        data_dir=None if options.ray_address else options.data_dir,
        ray_address=options.ray_address,
        cluster_restarts=options.cluster_restarts,
    )


def main(arguments: list[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return Driver(parse_arguments(arguments)).run()


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads that wait for Ray, or for a control plane that is gone, must not keep the process
