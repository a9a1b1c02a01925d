"""What the controllers need to know; part of the control plane's configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ControllersConfig:
    data_dir: Path
    """Of the control plane; drivers' logs and process records go below its `jobs`."""
    operator_address: str
    """HOST:PORT by which a driver on this machine, or on the Ray cluster, reaches the operators' service."""
    ray_address: str = ""
    """Of a Ray cluster; empty: drivers are processes on this machine and use the embedded Ray."""
    tick_s: float = 1.0
    """The longest that anything goes unnoticed."""
    max_drivers: int = 2
    """Jobs that run at once; others are queued."""
    max_driver_deaths: int = 5
    """A job whose driver has died that often without an end of its own has failed."""
    restart_backoff_s: float = 1.0
    """Pause before a driver is started again; doubles with every death, up to a minute."""
    cancel_grace_s: float = 30.0
    """How long a driver may take to end by itself once its job is to be cancelled."""
    stop_grace_s: float = 5.0
    """How long a driver may take to end once it is told to by a signal."""
    benchmark_wait_s: float = 30.0
    """How long a benchmark waits for a free device of its class."""
    benchmark_timeout_s: float = 180.0
    """How long devices may take to measure."""
