"""The application served for a test: a real uvicorn on a free port of loopback, in the test's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
import uvicorn
from pydantic import SecretStr

from app.auth import development_token
from app.graphql.requests import GRAPHQL_JSON
from app.server import create_app
from app.settings import Settings
from app.web import configuration
from domain.access import Principal

SECRET = "a secret for tests, long enough for HS256"


class Api:
    """A client of the served application; `as_` chooses who calls."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.http = httpx2.AsyncClient(base_url=base, timeout=30, headers={"accept": GRAPHQL_JSON})

    @property
    def websocket_url(self) -> str:
        return self.base.replace("http", "ws", 1) + "/graphql"

    def token(self, caller: Principal) -> str:
        return development_token(SECRET, caller)

    async def answer(
        self, caller: Principal, query: str, variables: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The whole response, errors included."""
        response = await self.http.post(
            "/graphql",
            json={"query": query, "variables": dict(variables or {})},
            headers={"authorization": f"Bearer {self.token(caller)}"},
        )
        body: dict[str, Any] = response.json()
        return body

    async def data(
        self, caller: Principal, query: str, variables: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The data of a response that must have no errors."""
        body = await self.answer(caller, query, variables)
        assert "errors" not in body, body["errors"]
        data: dict[str, Any] = body["data"]
        return data

    async def did(
        self, caller: Principal, mutation: str, variables: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The payload of the one mutation, which must have no user errors."""
        (payload,) = (await self.data(caller, mutation, variables)).values()
        assert payload.get("userErrors", []) == [], payload["userErrors"]
        found: dict[str, Any] = payload
        return found


@contextlib.asynccontextmanager
async def served(database_url: str, *, workers: bool = True, **settings: Any) -> AsyncIterator[Api]:
    """Serve this database until the block ends."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        configured = Settings(
            database_url=SecretStr(database_url),
            development_secret=SecretStr(SECRET),
            broadcast_url=SecretStr("memory://"),
            pool_size=5,
            **settings,
        )
        application = create_app(configured, workers=workers)
        server = uvicorn.Server(configuration(application, configured))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            if task.done():
                await task
                raise RuntimeError("the server ended while it started")
            await asyncio.sleep(0.01)
        api = Api(f"http://127.0.0.1:{listener.getsockname()[1]}")
        try:
            yield api
        finally:
            await api.http.aclose()
            server.should_exit = True
            await task
