"""The web page's server: what a browser gets, as it changes, and what it does not get."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from orchestrator.client import Client
from orchestrator.dashboard import create_app
from orchestrator.records import Decision
from tests.control_plane import RunningControlPlane, control_plane, digest_of, records, until

DEADLINE_S = 15.0


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[RunningControlPlane]:
    async with control_plane(tmp_path) as running:
        yield running


@pytest.fixture
async def page(plane: RunningControlPlane) -> AsyncIterator[aiohttp.ClientSession]:
    async def check_health() -> str:
        return ""

    client = Client(plane.operators_address)
    app = create_app(client, render_metrics=lambda: (b"espalier_up 1\n", "text/plain"), check_health=check_health)
    runner = web.AppRunner(app, shutdown_timeout=5.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
        yield session
    await runner.cleanup()
    await client.close()


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    """Server-sent events as (name, data)."""
    name = ""
    async for line in response.content:
        text = line.decode().strip()
        if text.startswith("event: "):
            name = text.removeprefix("event: ")
        elif text.startswith("data: "):
            yield name, json.loads(text.removeprefix("data: "))


async def first(response: aiohttp.ClientResponse, resource: str) -> Any:
    """The first change of a resource."""
    async with asyncio.timeout(DEADLINE_S):
        async for name, data in events(response):
            if name == "change" and data["resource"] == resource:
                return data["item"]
    raise AssertionError("the stream ended")


def decision(number: int) -> Decision:
    return Decision(
        id=f"decision-{number}", policy="p", device_id="<b>porch</b>", model_digest=digest_of("m").hex(),
        action="distill_again", reason="because", evidence_json="{}", decided_at_ms=number,
    )  # fmt: skip


async def test_the_page_needs_nothing_from_elsewhere(page: aiohttp.ClientSession) -> None:
    async with page.get("/") as response:
        text = await response.text()
        assert response.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert "http://" not in text
    assert "https://" not in text
    for name in ("app.js", "style.css", "icon.svg", "devices.js", "chart.js", "dom.js", "resources.js"):
        async with page.get(f"/static/{name}") as response:
            assert response.status == 200, name


async def test_a_browser_gets_what_is_there_and_then_each_change(
    plane: RunningControlPlane, page: aiohttp.ClientSession
) -> None:
    await plane.database.write(lambda session: session.decisions.put(decision(1)))

    async def is_known() -> bool:
        return bool((await (await page.get("/api/fleet")).json())["decisions"])

    await until(is_known)
    async with page.get("/api/watch") as response:
        stream = events(response)
        name, snapshot = await anext(stream)
        assert name == "snapshot"
        assert [item["id"] for item in snapshot["decisions"]] == ["decision-1"]
        assert "evidence" not in snapshot["decisions"][0], "a browser need not download what the page does not draw"
        assert (await anext(stream))[0] == "status"
        await plane.database.write(lambda session: session.decisions.put(decision(2)))
        assert (await first(response, "decisions"))["id"] == "decision-2"


async def test_telemetry_windows_arrive_as_a_series(plane: RunningControlPlane, page: aiohttp.ClientSession) -> None:
    async with page.get("/api/watch") as response, plane.agent("porch") as agent:
        await agent.sync()
        device = await first(response, "devices")
        assert (device["id"], device["online"]) == ("porch", True)
        await agent.push(records(1, 2, requests=10, labelled=4, labelled_correct=3))
        async with asyncio.timeout(DEADLINE_S):
            while len(series := await first(response, "windows")) and len(series["windows"]) < 2:
                continue
    assert [window["labelled_correct"] for window in series["windows"]] == [3, 3]


async def test_a_page_asked_for_by_a_foreign_name_is_refused(page: aiohttp.ClientSession) -> None:
    """A web site whose name is made to point at this machine cannot read the fleet through a visitor's browser."""
    async with page.get("/api/fleet", headers={"Host": "evil.example:7445"}) as response:
        assert response.status == 421
    async with page.get("/api/fleet", headers={"Host": "localhost:7445"}) as response:
        assert response.status == 200


async def test_metrics_and_health_are_beside_it(page: aiohttp.ClientSession) -> None:
    assert await (await page.get("/metrics")).text() == "espalier_up 1\n"
    assert (await page.get("/healthz")).status == 200


async def test_nothing_outside_the_static_folder_is_served(page: aiohttp.ClientSession) -> None:
    async with page.get("/static/../app.py") as response:
        assert response.status == 404
    async with page.get("/static/%2e%2e/app.py") as response:
        assert response.status in (403, 404)
