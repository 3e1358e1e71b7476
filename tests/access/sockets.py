"""A WebSocket of somebody, for tests of what ends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from websockets import State
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.serving import Api

FOLLOW = "subscription { orderEvents { type } }"


class Opened:
    """An initialised connection."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, message: dict[str, Any]) -> None:
        await self._connection.send(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self._connection.recv())
        return found

    async def follow_orders(self) -> None:
        await self.send({"type": "subscribe", "id": "1", "payload": {"query": FOLLOW}})
        await asyncio.sleep(0.2)
        assert self.is_open

    async def close_code(self) -> int | None:
        """Of the server, once it has closed."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._connection.recv()
        return self._connection.close_code

    @property
    def is_open(self) -> bool:
        return self._connection.state is State.OPEN


@contextlib.asynccontextmanager
async def opened(api: Api, credential: str) -> AsyncIterator[Opened]:
    async with connect(api.websocket_url, subprotocols=[Subprotocol("graphql-transport-ws")]) as connection:
        socket = Opened(connection)
        await socket.send({"type": "connection_init", "payload": {"authorization": f"Bearer {credential}"}})
        assert (await socket.receive())["type"] == "connection_ack"
        yield socket
