"""A real server over the live path, on a free port."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator

import orjson
import pytest
import uvicorn
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import Receive, Scope, Send

from app.auth import Authenticator
from app.live.frames import Connections
from app.live.live import Live
from app.live.operations import request_of
from tests.live.clients import SECRET, until
from tests.live.planner import Planner, execute


def free_port() -> int:
    """Below the range that the system gives to outgoing connections."""
    for port in random.sample(range(20_000, 32_000), 50):
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


@pytest.fixture
def planner() -> Planner:
    return Planner()


@pytest.fixture
def authenticator() -> Authenticator:
    return Authenticator(SECRET)


@pytest.fixture
async def live(
    database_url: str, engine: AsyncEngine, planner: Planner, authenticator: Authenticator
) -> AsyncIterator[Live]:
    """The live path of one process, running."""
    made = Live(database_url, None, planner=planner, authenticator=authenticator, execute=execute)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def served(live: Live, authenticator: Authenticator) -> AsyncIterator[str]:
    """`host:port` of a server whose `/graphql` is the live path."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await live.websocket(scope, receive, send)
            return
        assert scope["type"] == "http"
        body = (await receive())["body"]
        request = request_of(orjson.loads(body))
        assert request is not None
        header = next(value.decode() for name, value in scope["headers"] if name == b"authorization")
        principal, expires = authenticator.principal_and_expiry(header)
        await live.stream(scope, receive, send, request=request, principal=principal, expires=expires)

    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            Connections(app),
            host="127.0.0.1",
            port=port,
            lifespan="off",
            log_level="warning",
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            ws_max_size=65_536,
            timeout_graceful_shutdown=2,
        )
    )
    running = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    yield f"127.0.0.1:{port}"
    server.should_exit = True
    await running
