"""The demo's three devices. They differ in what they can take and in their engine; nothing sleeps to be slow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class DeviceProfile:
    id: str
    device_class: str
    engine_path: str  # empty: the fastest there is
    model_bytes: int  # 0: no limit
    ram_bytes: int
    latency_p95_ms: float

    def config(self, folder: Path, control_plane: str, listen: str) -> Path:
        """Write the agent's configuration and return its path."""
        path = folder / f"{self.id}.toml"
        path.write_text(
            f"""\
[device]
id = "{self.id}"
device_class = "{self.device_class}"
state_dir = "{folder / self.id}"

[control_plane]
address = "{control_plane}"
sync_interval_s = 5.0
report_interval_s = 1.0

[serving]
listen = "{listen}"

[limits]
model_bytes = {self.model_bytes}
ram_bytes = {self.ram_bytes}
latency_p95_ms = {self.latency_p95_ms}

[engine]
path = "{self.engine_path}"

[telemetry]
window_s = 2.0

[samples]
consent = true

[logging]
format = "text"
"""
        )
        return path


GATEWAY = DeviceProfile(
    id="gateway", device_class="gateway", engine_path="", model_bytes=0, ram_bytes=0, latency_p95_ms=20.0
)
PORCH_CAMERA = DeviceProfile(
    id="porch-camera",
    device_class="camera",
    engine_path="portable",
    model_bytes=60_000,
    ram_bytes=2_000_000,
    latency_p95_ms=20.0,
)
SHED_SENSOR = DeviceProfile(
    id="shed-sensor",
    device_class="sensor",
    engine_path="reference",
    model_bytes=40_000,
    ram_bytes=1_000_000,
    latency_p95_ms=50.0,
)
DEVICES = (GATEWAY, PORCH_CAMERA, SHED_SENSOR)
DEGRADED = PORCH_CAMERA
"""The device whose camera goes bad in phase 2."""
