"""The control plane as the demo sees it: what it asks and waits for, through the SDK that anyone has."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from orchestrator.client import Client
from orchestrator.errors import OrchestratorError
from orchestrator.plain import to_plain
from orchestrator.working_dir import pack

Item = dict[str, Any]
POLL_S = 0.5


class WaitedTooLongError(Exception):
    """Something that the demo needs did not happen in time."""


class Fleet:
    """Asks and waits; every wait has a deadline and fails as soon as `check` says that a process died."""

    def __init__(self, client: Client, check: Callable[[], None]) -> None:
        self._client = client
        self._check = check

    async def until_ready(self, timeout_s: float) -> None:
        async def answers() -> bool:
            try:
                await self._client.jobs.list(limit=1)
            except OrchestratorError:
                return False
            return True

        await self.until(answers, timeout_s, "the control plane to answer")

    async def until(self, condition: Callable[[], Any], timeout_s: float, what: str) -> None:
        """Wait until the coroutine function `condition` is true."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not await condition():
            self._check()
            if asyncio.get_running_loop().time() > deadline:
                raise WaitedTooLongError(f"waited {timeout_s:.0f} s for {what}")
            await asyncio.sleep(POLL_S)

    async def devices(self) -> list[Item]:
        return [to_plain(device) for device in (await self._client.devices.list(limit=100)).devices]

    async def models(self) -> dict[str, Item]:
        return {model["sha256"]: model for model in map(to_plain, (await self._client.models.list(limit=100)).models)}

    async def job(self, job_id: str) -> Item:
        return to_plain(await self._client.jobs.get(job_id))

    async def rollout(self, rollout_id: str) -> Item:
        return to_plain(await self._client.rollouts.get(rollout_id))

    async def decision(self, decision_id: str) -> Item:
        return to_plain(await self._client.decisions.get(decision_id))

    async def replays(self, decision_id: str) -> bool:
        return bool((await self._client.decisions.replay(decision_id)).same)

    async def submit(self, document: str, folder: Path) -> str:
        archive = await self._client.blobs.put(pack(folder).archive)
        job = await self._client.jobs.submit(document, working_dir_sha256=archive, client_request_id=uuid.uuid4().hex)
        return str(job.id)

    async def apply_policy(self, document: str) -> None:
        await self._client.policies.apply(document)

    async def first_decision(self, timeout_s: float) -> Item:
        """The first decision there is, waiting for it."""
        found: list[Item] = []

        async def any_decision() -> bool:
            found.extend(map(to_plain, (await self._client.decisions.list(limit=10)).decisions))
            return bool(found)

        await self.until(any_decision, timeout_s, "the loop to decide")
        return found[0]

    async def sample_counts(self) -> dict[str, int]:
        answer = await self._client.devices.sample_stats()
        return {stats.device_id: stats.samples for stats in answer.stats}

    async def p95_us(self, device_id: str, model_sha256: str) -> float | None:
        """Engine time of all requests that the device answered with this model."""
        answer = await self._client.telemetry.query(device_id=device_id, model_sha256=model_sha256)
        for summary in map(to_plain, answer.summaries):
            if summary["total"] and summary["total"]["engine_latency_us"]:
                value: float | None = summary["total"]["engine_latency_us"]["p95"]
                return value
        return None

    async def follow(self, plural: str, item_id: str, timeout_s: float) -> AsyncIterator[Item]:
        """One job or rollout as it changes, until it ends."""
        calls, field = getattr(self._client, plural), plural.removesuffix("s")
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            item = to_plain(await calls.get(item_id))
            yield item
            if item["state"] not in ("queued", "running"):
                return
            self._check()
            if asyncio.get_running_loop().time() > deadline:
                raise WaitedTooLongError(f"{field} {item_id} has not ended after {timeout_s:.0f} s: {item['message']}")
            await asyncio.sleep(POLL_S)

    async def last(self, plural: str, item_id: str, timeout_s: float, on_change: Callable[[Item], None]) -> Item:
        """The end of one job or rollout; `on_change` sees what comes before."""
        item: Item = {}
        async with aclosing(self.follow(plural, item_id, timeout_s)) as changes:  # type: ignore[type-var]
            async for item in changes:
                on_change(item)
        return item
