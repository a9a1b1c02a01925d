"""The newest state of everything the page shows, and its changes, for any number of browsers.

One list and one watch per resource, however many browsers look: each browser gets a snapshot and then the changes. A
browser that does not keep up is let go; it connects again and gets a new snapshot. Where the control plane does not
answer, the feed says so, lists again and goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from orchestrator.client import Client
from orchestrator.errors import OrchestratorError
from orchestrator.plain import to_plain

logger = logging.getLogger(__name__)

# resource: (field of a watch event, field that names one)
RESOURCES = {
    "devices": ("device", "id"),
    "jobs": ("job", "id"),
    "models": ("model", "sha256"),
    "rollouts": ("rollout", "id"),
    "decisions": ("decision", "id"),
}
LIST_LIMIT = 200
WINDOWS_KEPT = 120
QUEUE_LIMIT = 1000
RETRY_S = 2.0
# What the page does not draw and a browser need not download.
_LEFT_OUT = {"spec_yaml", "evidence", "stages", "statement_sha256", "working_dir_sha256"}

Event = tuple[str, Any]  # its name for the browser, its data


class Feed:
    """Follows the control plane while it runs; `subscribe` is what browsers read from."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._items: dict[str, dict[str, Any]] = {name: {} for name in RESOURCES}
        self._windows: dict[str, deque[dict[str, Any]]] = {}
        self._lost: set[str] = set(RESOURCES)
        self._subscribers: set[asyncio.Queue[Event]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._keep(name)) for name in (*RESOURCES, "windows")]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def release(self) -> None:
        """Let every browser go, so that the server can stop."""
        for queue in self._subscribers:
            queue.put_nowait(("overflow", None))
        self._subscribers.clear()

    @property
    def is_live(self) -> bool:
        return not self._lost

    def snapshot(self) -> dict[str, list[Any]]:
        items: dict[str, list[Any]] = {name: list(known.values()) for name, known in self._items.items()}
        items["windows"] = [_windows_item(device_id, kept) for device_id, kept in self._windows.items()]
        return items

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[asyncio.Queue[Event]]:
        """A queue that begins with a snapshot. It ends with ("overflow", None) where the reader is too slow."""
        queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE_LIMIT + 3)
        queue.put_nowait(("snapshot", self.snapshot()))
        queue.put_nowait(("status", {"live": self.is_live}))
        self._subscribers.add(queue)
        try:
            yield queue
        finally:
            self._subscribers.discard(queue)

    async def _keep(self, name: str) -> None:
        """Follow one resource for ever, through every interruption."""
        while True:
            try:
                await (self._follow_windows() if name == "windows" else self._follow(name))
            except OrchestratorError as error:
                logger.info("following %s was interrupted: %s", name, error)
            self._set_live(name, False)
            await asyncio.sleep(RETRY_S)

    async def _follow(self, name: str) -> None:
        field, key = RESOURCES[name]
        calls = getattr(self._client, name)
        answer = await calls.list(limit=LIST_LIMIT)
        for message in getattr(answer, name):
            self._take(name, key, to_plain(message))
        self._set_live(name, True)
        async for event in calls.watch(from_revision=answer.revision):
            self._take(name, key, to_plain(getattr(event, field)))

    async def _follow_windows(self) -> None:
        self._set_live("windows", True)
        async for event in self._client.telemetry.watch():
            kept = self._windows.setdefault(event.device_id, deque(maxlen=WINDOWS_KEPT))
            kept.append(_window(to_plain(event.window)))
            self._publish("change", {"resource": "windows", "item": _windows_item(event.device_id, kept)})

    def _take(self, name: str, key: str, item: dict[str, Any]) -> None:
        slim = {field: value for field, value in item.items() if field not in _LEFT_OUT}
        if self._items[name].get(slim[key]) != slim:
            self._items[name][slim[key]] = slim
            self._publish("change", {"resource": name, "item": slim})

    def _set_live(self, name: str, is_live: bool) -> None:
        before = self.is_live
        (self._lost.discard if is_live else self._lost.add)(name)
        if self.is_live != before:
            self._publish("status", {"live": self.is_live})

    def _publish(self, name: str, data: Any) -> None:
        for queue in list(self._subscribers):
            if queue.qsize() >= QUEUE_LIMIT:
                self._subscribers.discard(queue)
                queue.put_nowait(("overflow", None))  # there is room for this one: the queue holds a few more
            else:
                queue.put_nowait((name, data))


def _window(window: dict[str, Any]) -> dict[str, Any]:
    """What the page draws of one window."""
    kept = ("model_sha256", "start_ms", "end_ms", "requests", "errors", "labelled", "labelled_correct")
    latency = window["engine_latency_us"]
    return {name: window[name] for name in kept} | {"engine_p95_us": latency["p95"] if latency else None}


def _windows_item(device_id: str, windows: deque[dict[str, Any]]) -> dict[str, Any]:
    return {"device_id": device_id, "windows": list(windows)}
