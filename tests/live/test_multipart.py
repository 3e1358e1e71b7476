"""`multipart/mixed` with `subscriptionSpec`: what Apollo's clients follow over plain HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx2
import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.live.live import Live
from db import cursors
from domain.access import Principal
from domain.events import EventType
from tests.live.clients import token, until
from tests.live.log import write_events

ACCEPT = "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json"
"""What Apollo Client sends for a subscription."""

BOUNDARY = b"\r\n--graphql"


class Parts:
    """The parts of one response, each given once the boundary after it has come."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._chunks = response.aiter_bytes()
        self._buffer = b""

    async def next(self, *, within: float = 10) -> Any:
        """The next part's JSON; None after the last boundary."""
        async with asyncio.timeout(within):
            while True:
                if self._buffer.startswith(b"--"):
                    return None
                part, found, rest = self._buffer.partition(BOUNDARY)
                if not found:
                    self._buffer += await anext(self._chunks)
                    continue
                self._buffer = rest
                head, _, body = part.partition(b"\r\n\r\n")
                if body:
                    assert head == b"\r\ncontent-type: application/json"
                    return orjson.loads(body)

    async def events(self, count: int) -> list[dict[str, Any]]:
        found = []
        while len(found) < count:
            part = await self.next()
            if part:
                found.append(next(iter(part["payload"]["data"].values())))
        return found


@contextlib.asynccontextmanager
async def parts(
    address: str, query: str, *, accept: str = ACCEPT, principal: Principal | None = None
) -> AsyncIterator[Parts]:
    headers = {"accept": accept, "authorization": f"Bearer {token(principal)}"}
    async with (
        httpx2.AsyncClient(base_url=f"http://{address}", timeout=20) as client,
        client.stream("POST", "/graphql", json={"query": query}, headers=headers) as response,
    ):
        yield Parts(response)


async def test_events_come_as_parts_and_a_cursor_goes_on(
    served: str, live: Live, engine: AsyncEngine
) -> None:
    order_id = uuid4()
    async with parts(served, "subscription { orderEvents }") as following:
        assert following.response.headers["content-type"] == (
            'multipart/mixed; boundary="graphql"; subscriptionSpec="1.0"'
        )
        await until(lambda: live.hub.subscribers)
        await write_events(engine, order_id, 0, *[EventType.ORDER_UPDATED] * 3)
        live.poke()
        seen = await following.events(2)
    await until(lambda: not live.hub.subscribers)
    async with parts(served, f'subscription {{ orderEvents(after: "{seen[-1]["cursor"]}") }}') as following:
        seen += await following.events(1)
    assert [event["version"] for event in seen] == [1, 2, 3]


async def test_a_quiet_stream_shows_that_it_is_alive(served: str, live: Live) -> None:
    live.hub.bounds = replace(live.hub.bounds, heartbeat_seconds=0.05)
    async with parts(served, "subscription { orderEvents }") as following:
        assert await following.next() == {}
        assert await following.next() == {}


async def test_an_expired_cursor_is_an_error_of_the_transport_and_ends_it(served: str) -> None:
    foreign = cursors.Cursor(uuid4(), 1)
    async with parts(served, f'subscription {{ orderEvents(after: "{foreign}") }}') as following:
        part = await following.next()
        assert part["payload"]["errors"][0]["extensions"]["code"] == "CURSOR_EXPIRED"
        assert await following.next() is None


async def test_a_log_that_was_replaced_ends_the_stream_with_an_error(served: str, live: Live) -> None:
    async with parts(served, "subscription { orderEvents }") as following:
        await until(lambda: live.hub.subscribers)
        for subscriber in list(live.hub.subscribers):
            subscriber.expire()
        part = await following.next()
        assert part["payload"] is None
        assert part["errors"][0]["extensions"]["code"] == "CURSOR_EXPIRED"
        assert await following.next() is None


async def test_a_query_is_one_part(served: str) -> None:
    async with parts(served, "{ account }") as following:
        assert await following.next() == {"payload": {"data": {"account": "staff:development"}}}
        assert await following.next() is None


@pytest.mark.parametrize("accept", ["multipart/mixed;deferSpec=20220824,application/json", "*/*"])
async def test_who_does_not_name_the_specification_gets_json(served: str, accept: str) -> None:
    headers = {"accept": accept, "authorization": "Bearer no"}
    async with httpx2.AsyncClient(base_url=f"http://{served}") as client:
        response = await client.post("/graphql", json={"query": "{ account }"}, headers=headers)
    assert "json" in response.headers["content-type"]


async def test_a_server_that_is_full_says_when_to_come_again(served: str, live: Live) -> None:
    live.hub.bounds = replace(live.hub.bounds, connections=1)
    async with parts(served, "subscription { orderEvents }"):
        await until(lambda: live.hub.subscribers)
        async with parts(served, "subscription { orderEvents }") as refused:
            assert refused.response.status_code == 503
            assert refused.response.headers["retry-after"] == "1"
