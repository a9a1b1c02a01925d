"""Which devices measure a candidate, and when to stop waiting for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orchestrator.records import ActionState, Benchmark, Device


def step_benchmark(
    benchmark: Benchmark, devices: Iterable[Device], now_ms: int, *, wait_s: float, timeout_s: float
) -> Benchmark:
    """One look at an open benchmark: choose devices, go on waiting, or close it.

    Devices of the class that are online and not in an action are asked, at once where there are any. Where every device
    of the class stays away or busy for `wait_s`, or there is none at all, it is closed as having no device: the order
    then measures on the control plane's CPU, and says so. Devices that were asked have `timeout_s` to answer, but only
    `wait_s` while none of them is there.
    """
    if benchmark.done:
        return benchmark
    waited_s = (now_ms - benchmark.requested_at_ms) / 1000.0
    if benchmark.device_ids:
        asked = [device for device in devices if device.id in benchmark.device_ids]
        is_anybody_there = any(device.online for device in asked)
        if waited_s < (timeout_s if is_anybody_there else wait_s):
            return benchmark
        silent = len(benchmark.device_ids) - len(benchmark.measurements) - len(benchmark.errors)
        error = f"{silent} of {len(benchmark.device_ids)} devices did not answer within {waited_s:.0f} s"
        nobody = not benchmark.measurements and not benchmark.errors and not is_anybody_there
        return replace(benchmark, done=True, no_device=nobody, errors=(*benchmark.errors, error))
    of_class = [d for d in devices if benchmark.device_class in ("*", d.facts.device_class)]
    free = sorted((d for d in of_class if d.online and not _is_busy(d)), key=lambda d: d.id)
    if free:
        return replace(benchmark, device_ids=tuple(d.id for d in free[: max(1, benchmark.devices)]))
    if not of_class or waited_s >= wait_s:
        return replace(benchmark, done=True, no_device=True)
    return benchmark


def _is_busy(device: Device) -> bool:
    return device.action_state is not ActionState.IDLE and not device.action_state.is_terminal
