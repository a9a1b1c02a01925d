"""Errors of compression jobs, split by what the job's supervisor does about them.

OrchestratorError
├── JobFailedError            the job ends as failed: its spec, its code or its data are at fault
│   ├── UserCodeError         a callable of the working directory raised or returned the wrong thing
│   └── WorkingDirError       the uploaded working directory is not acceptable
├── JobCancelledError         an operator asked for it; the job ends as cancelled
├── TrialStoppedError         a search gave one of its trials up; it goes on with the others
├── ClusterError              Ray is not there; the job is resumed by its next attempt
└── ClusterStartError         Ray could not be started; the message says what its log says
"""

from __future__ import annotations

from orchestrator.errors import OrchestratorError


class JobFailedError(OrchestratorError):
    """The job cannot end well, however often it is tried."""


class UserCodeError(JobFailedError):
    """A callable of the working directory raised, is missing, or returned something else than it should."""


class WorkingDirError(JobFailedError):
    """The zip of the working directory is malformed, too large, or names paths outside of it."""


class JobCancelledError(OrchestratorError):
    """The job was cancelled while it ran."""


class TrialStoppedError(OrchestratorError):
    """A trial can be of no use any more; the message says why."""


class ClusterError(OrchestratorError):
    """The Ray cluster went away or cannot be reached."""


class ClusterStartError(ClusterError):
    """Ray did not start on this machine."""
