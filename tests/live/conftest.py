"""A real server over the live path, on a free port."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import cast

import pytest
import uvicorn
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import Receive, Scope, Send

from app.auth import Authenticator
from app.graphql.execution import Executor
from app.graphql.http import GraphQLEndpoint
from app.live.frames import Connections
from app.live.live import Live
from app.web import HttpProtocol
from bench.ports import free_port
from tests.live.clients import SECRET, until
from tests.live.planner import Planner, execute


@contextlib.asynccontextmanager
async def serving(live: Live, authenticator: Authenticator) -> AsyncIterator[str]:
    """`host:port` of a server whose `/graphql` is the live path."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await live.websocket(scope, receive, send)
            return
        await endpoint(scope, receive, send)

    endpoint = GraphQLEndpoint(
        cast("Executor", None),  # only streams are asked for here
        authenticator.authenticate,
        streams=live.streams,
    )
    listening = socket.create_server(("127.0.0.1", free_port()))
    # Small buffers, so that a slow reader is felt after kilobytes and not after megabytes.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
    server = uvicorn.Server(
        uvicorn.Config(
            Connections(app),
            lifespan="off",
            log_level="warning",
            http=HttpProtocol,
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            ws_max_size=65_536,
            timeout_graceful_shutdown=2,
        )
    )
    running = asyncio.create_task(server.serve(sockets=[listening]))
    await until(lambda: server.started)
    try:
        yield "{}:{}".format(*listening.getsockname())
    finally:
        server.should_exit = True
        await running


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
    """`host:port` of a server over the `live` of this test."""
    async with serving(live, authenticator) as address:
        yield address
