"""The HTTP side of the control plane: the page, its event stream, `/metrics` and `/healthz`. Reads only.

What is in the metrics and what health means are the caller's; here they only get an address.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from orchestrator.client import Client
from orchestrator.dashboard.feed import Feed

STATIC = Path(__file__).parent / "static"
KEEPALIVE_S = 15.0
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
FEED = web.AppKey("feed", Feed)


def create_app(
    client: Client,
    *,
    render_metrics: Callable[[], tuple[bytes, str]],
    check_health: Callable[[], Awaitable[str]],
    allowed_hosts: Collection[str] = LOOPBACK_NAMES,
) -> web.Application:
    """Make the application.

    Args:
        client: of the operator API; closed by the caller.
        render_metrics: the body of `/metrics` and its content type.
        check_health: what is wrong, or "" where nothing is.
        allowed_hosts: names by which the page may be asked for; empty allows all. The default keeps other web sites
            from reading a page on this machine by a name of theirs that points here (DNS rebinding).
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if allowed_hosts and _host_name(request.host) not in allowed_hosts:
            raise web.HTTPMisdirectedRequest(text=f"not served under the name {_host_name(request.host)!r}\n")
        return await handler(request)

    async def metrics(request: web.Request) -> web.Response:
        body, content_type = render_metrics()
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def health(request: web.Request) -> web.Response:
        problem = await check_health()
        return web.Response(text=f"{problem or 'ok'}\n", status=503 if problem else 200)

    app = web.Application(middlewares=[guard])
    app[FEED] = Feed(client)
    app.on_response_prepare.append(_add_headers)
    app.cleanup_ctx.append(_run_feed)
    app.on_shutdown.append(_release_browsers)
    app.router.add_get("/", _page)
    app.router.add_static("/static/", STATIC)
    app.router.add_get("/api/fleet", _fleet)
    app.router.add_get("/api/watch", _watch)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", health)
    return app


async def _run_feed(app: web.Application) -> AsyncIterator[None]:
    app[FEED].start()
    yield
    await app[FEED].stop()


async def _release_browsers(app: web.Application) -> None:
    app[FEED].release()


async def _page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


async def _fleet(request: web.Request) -> web.Response:
    """Everything that the page shows, once."""
    return web.json_response({"live": request.app[FEED].is_live, **request.app[FEED].snapshot()})


async def _watch(request: web.Request) -> web.StreamResponse:
    """Server-sent events: `snapshot`, then `change` and `status`, for as long as the browser looks."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    async with request.app[FEED].subscribe() as queue:
        while True:
            try:
                async with asyncio.timeout(KEEPALIVE_S):  # wait_for can swallow a cancellation before Python 3.12
                    name, data = await queue.get()
            except TimeoutError:
                await response.write(b": still here\n\n")
                continue
            if name == "overflow":
                return response
            await response.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _host_name(host: str) -> str:
    """The Host header without its port."""
    return host if host.endswith("]") or ":" not in host else host.rpartition(":")[0]
