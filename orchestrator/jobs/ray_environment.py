"""The environment that Ray's processes and ours that talk to them run in.

Set before `ray` is imported: Ray reads it once. Everything here was measured on Ray 2.60; each line says what goes
wrong without it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",
    # Ray's hook for `uv run` can stall for minutes where the interpreter was started by it.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # `submit` has decided what belongs to the working directory; a .gitignore in it shall not decide again.
    "RAY_RUNTIME_ENV_IGNORE_GITIGNORE": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a warning about GPU masking on every start
}

_TRAIN = {
    # Ray Train looks at its workers every 2 s by default, and ends no sooner than its next look: 6 s of a short run.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # an actor of its own for each run
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # User code finds its files where they lie beside it: in the working directory, not in a folder of Ray Train's.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}

_DRIVER = {
    # A driver whose head died should say so within seconds, not after the default minute.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
}


def base_environment(inherited: Mapping[str, str] | None = None) -> dict[str, str]:
    """What every process of a job gets, whoever runs the cluster."""
    environment = dict(os.environ if inherited is None else inherited)
    environment.update(_QUIET | _TRAIN | _DRIVER)
    environment["PYTHONPATH"] = _with_package_root(environment.get("PYTHONPATH", ""))
    return environment


def embedded_environment(token_path: Path, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the processes of a cluster on this machine get, and drivers that connect to it."""
    environment = base_environment(inherited)
    environment.pop("RAY_ADDRESS", None)  # of another cluster that the user works with
    environment.pop("RAY_AUTH_TOKEN", None)
    environment.update(
        {
            # Whoever reaches Ray runs code: on a shared machine that is every user, unless a token is asked for.
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token_path),
            # Ray turns 127.0.0.1 into the machine's outward address unless it is told that there is no cluster to
            # reach; then its servers, which otherwise bind every interface, bind loopback alone.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            # Workers with torch loaded take seconds to start: keep those of a job until it ends, not for one second.
            "RAY_num_workers_soft_limit": "8",
            "RAY_idle_worker_killing_time_threshold_ms": "600000",
            # Fixed ports by default, over which two clusters on one machine would fight.
            "AUTOSCALER_METRIC_PORT": "0",
            "DASHBOARD_METRIC_PORT": "0",
        }
    )
    return environment


def _with_package_root(python_path: str) -> str:
    parts = [part for part in python_path.split(os.pathsep) if part]
    root = str(_PACKAGE_ROOT)
    return os.pathsep.join(parts if root in parts else [root, *parts])
