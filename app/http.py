"""What is served beside `/graphql`: health, metrics, a landing page, and GraphiQL in development."""

from __future__ import annotations

import html
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from app.auth import development_token, staff
from app.settings import Environment, Settings

STATIC = Path(__file__).parent / "static"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
PAGE_HEADERS = {
    "cache-control": "no-store",  # the page holds a token
    "content-security-policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src data:; connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

ReadinessCheck = Callable[[], Awaitable[str | None]]
"""Answers why requests cannot be served now, or None when they can."""


@dataclass(frozen=True, slots=True)
class Example:
    """A tab of GraphiQL."""

    title: str
    query: str
    variables: str


def routes(settings: Settings, why_not_ready: ReadinessCheck) -> list[BaseRoute]:
    """The routes beside `/graphql`."""

    async def healthz(_: Request) -> Response:
        """Alive: the event loop turns. It asks nobody else, so a slow database restarts nothing."""
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        """Ready: the database answers and nobody has told us to stop."""
        reason = await why_not_ready()
        if reason is None:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready", "reason": reason}, status_code=503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})

    async def landing(_: Request) -> Response:
        return HTMLResponse(_landing_page(settings), headers=PAGE_HEADERS)

    async def graphiql(request: Request) -> Response:
        return HTMLResponse(_graphiql_page(_page_token(settings, request)), headers=PAGE_HEADERS)

    shown: list[BaseRoute] = [
        Route("/", landing),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
    ]
    if settings.environment is Environment.DEVELOPMENT:
        shown += [
            Route("/graphiql", graphiql),
            Mount("/static", StaticFiles(directory=STATIC, check_dir=False)),
        ]
    return shown


@cache
def examples() -> tuple[Example, ...]:
    """The operations of `static/examples.graphql`, in their order."""
    parts = re.split(r"^### (.+)$", (STATIC / "examples.graphql").read_text(), flags=re.MULTILINE)[1:]
    found = []
    for title, body in zip(parts[::2], parts[1::2], strict=True):
        variables = re.search(r"^# variables: (.+)$", body, flags=re.MULTILINE)
        pretty = (
            orjson.dumps(orjson.loads(variables[1]), option=orjson.OPT_INDENT_2).decode() if variables else ""
        )
        query = re.sub(r"^# variables: .+\n", "", body, flags=re.MULTILINE).strip()
        found.append(Example(title.strip(), f"# {title.strip()}\n{query}\n", pretty))
    return tuple(found)


def _page_token(settings: Settings, request: Request) -> str | None:
    """A staff token for the page, only for a browser on this machine that asked this machine.

    The second half matters: another site may point its own name at 127.0.0.1, and its
    scripts could then read the page.
    """
    client = request.client.host if request.client else ""
    if settings.development_secret is None or client not in LOOPBACK or request.url.hostname not in LOOPBACK:
        return None
    return development_token(settings.development_secret.get_secret_value(), staff())


def _graphiql_page(token: str | None) -> str:
    tabs = [
        {"title": example.title, "query": example.query, "variables": example.variables}
        for example in examples()
    ]
    # "</script>" inside an example must not end the element that carries it.
    embedded = orjson.dumps({"token": token, "examples": tabs}).decode().replace("<", "\\u003c")
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Maestro OMS · GraphiQL</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/graphiql/graphiql.min.css">
<style>html, body, #graphiql {{ height: 100%; margin: 0 }}</style>
<div id="graphiql">Loading…</div>
<script type="application/json" id="settings">{embedded}</script>
<script src="/static/graphiql/react.production.min.js"></script>
<script src="/static/graphiql/react-dom.production.min.js"></script>
<script src="/static/graphiql/graphiql.min.js"></script>
<script src="/static/graphiql/graphql-ws.min.js"></script>
<script src="/static/graphiql.js"></script>
</html>
"""


def _landing_page(settings: Settings) -> str:
    links = [
        ("/graphql", "the GraphQL API: POST, GET, WebSocket, server-sent events"),
        ("/healthz", "is the process alive"),
        ("/readyz", "can it serve"),
        ("/metrics", "figures for Prometheus"),
    ]
    if settings.environment is Environment.DEVELOPMENT:
        links.insert(1, ("/graphiql", "try it, with an order's whole life as examples"))
    rows = "\n".join(
        f'<dt><a href="{path}">{path}</a></dt><dd>{html.escape(meaning)}</dd>' for path, meaning in links
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Maestro OMS</title>
<link rel="icon" href="data:,">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem }}
dt {{ font-family: ui-monospace, monospace; margin-top: .75rem }}
dd {{ margin: 0; color: #555 }}
</style>
<h1>Maestro OMS</h1>
<p>Orders, stock, shipments and returns as one GraphQL API with live subscriptions.</p>
<dl>
{rows}
</dl>
</html>
"""
