"""A client of `graphql-transport-ws`, as thin as the protocol."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from app.auth import development_token, staff
from domain.access import Principal

SECRET = "a secret of at least thirty-two characters"


def token(principal: Principal | None = None, *, lifetime_seconds: int = 3600) -> str:
    return development_token(SECRET, principal or staff(), lifetime_seconds=lifetime_seconds)


class Client:
    """One socket. Messages are read when asked for; those of other operations wait."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self._waiting: list[dict[str, Any]] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def to(
        cls, address: str, principal: Principal | None = None, *, init: bool = True
    ) -> AsyncIterator[Self]:
        async with connect(
            f"ws://{address}/graphql", subprotocols=["graphql-transport-ws"], compression=None
        ) as connection:
            client = cls(connection)
            if init:
                await client.init({"authorization": f"Bearer {token(principal)}"})
            yield client

    async def init(self, payload: Any = None) -> None:
        await self.say({"type": "connection_init", "payload": payload})
        assert (await self.hear())["type"] == "connection_ack"

    async def say(self, message: Any) -> None:
        await self.connection.send(
            message if isinstance(message, str | bytes) else orjson.dumps(message).decode()
        )

    async def hear(self, id: str | None = None, *, within: float = 10) -> dict[str, Any]:
        """The next message, of one operation if its id is given."""
        for place, message in enumerate(self._waiting):
            if id is None or message.get("id") == id:
                return self._waiting.pop(place)
        async with asyncio.timeout(within):
            while True:
                message = orjson.loads(await self.connection.recv())
                if id is None or message.get("id") == id:
                    return message
                self._waiting.append(message)

    async def subscribe(self, id: str, query: str) -> None:
        await self.say({"id": id, "type": "subscribe", "payload": {"query": query}})

    async def events(self, id: str, count: int, *, within: float = 10) -> list[dict[str, Any]]:
        """The next `count` payloads of an operation, each the value of its one field."""
        found = []
        for _ in range(count):
            message = await self.hear(id, within=within)
            assert message["type"] == "next", message
            (value,) = message["payload"]["data"].values()
            found.append(value)
        return found

    async def silent(self, seconds: float = 0.4) -> bool:
        try:
            await self.hear(within=seconds)
        except TimeoutError:
            return True
        return False

    async def closed(self, *, within: float = 10) -> tuple[int, str]:
        """How the server closes the socket."""
        async with asyncio.timeout(within):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self.connection.recv()
            await self.connection.wait_closed()
        assert self.connection.close_code is not None
        return self.connection.close_code, str(self.connection.close_reason)


async def until(holds: Callable[[], object], *, within: float = 10) -> None:
    """Wait until this is true."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.005)
