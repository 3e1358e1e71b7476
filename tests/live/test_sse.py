"""Server-sent events: each operation a stream of its own, that goes on where the last one ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
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


class Events:
    """The events of one stream, as an EventSource would give them."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self, *, within: float = 10) -> dict[str, str]:
        """The next event by its fields; comments are left out. At the end of the stream it is empty."""
        found: dict[str, str] = {}
        async with asyncio.timeout(within):
            async for line in self._lines:
                if line.startswith(":"):
                    continue
                if not line:
                    if found:
                        return found
                    continue
                name, _, value = line.partition(":")
                found[name] = value.removeprefix(" ")
        return found

    async def data(self, count: int) -> list[dict[str, object]]:
        found = []
        for _ in range(count):
            event = await self.next()
            assert event["event"] == "next"
            (value,) = orjson.loads(event["data"])["data"].values()
            assert event["id"] == value["cursor"]
            found.append(value)
        return found


@contextlib.asynccontextmanager
async def stream(
    address: str, query: str, *, method: str = "POST", principal: Principal | None = None, **headers: str
) -> AsyncIterator[Events]:
    sent = {
        "accept": "text/event-stream",
        "authorization": f"Bearer {token(principal)}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    async with httpx2.AsyncClient(base_url=f"http://{address}", timeout=20) as client:
        options = {"json": {"query": query}} if method == "POST" else {"params": {"query": query}}
        async with client.stream(method, "/graphql", headers=sent, **options) as response:
            yield Events(response)


async def test_a_query_is_one_event_and_then_complete(served: str) -> None:
    for method in ("POST", "GET"):
        async with stream(served, "{ account }", method=method) as events:
            assert events.response.status_code == 200
            assert events.response.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert await events.next() == {
                "event": "next",
                "data": '{"data":{"account":"staff:development"}}',
            }
            assert await events.next() == {"event": "complete", "data": ""}
            assert await events.next() == {}


@pytest.mark.parametrize("query", ["{ account", "{ nothing }", "subscription { nothing }"])
async def test_what_cannot_be_executed_is_told_on_the_stream(served: str, query: str) -> None:
    async with stream(served, query) as events:
        event = await events.next()
        assert event["event"] == "next"
        assert orjson.loads(event["data"])["errors"][0]["message"]
        assert (await events.next())["event"] == "complete"


async def test_a_mutation_by_get_is_refused(served: str) -> None:
    async with stream(served, "mutation { account }", method="GET") as events:
        assert "POST" in (await events.next())["data"]


async def test_without_a_token_there_is_no_stream(served: str) -> None:
    async with stream(served, "{ account }", authorization="Bearer no") as events:
        assert events.response.status_code == 401


async def test_a_stream_that_was_cut_goes_on_from_the_last_event_id(
    served: str, live: Live, engine: AsyncEngine
) -> None:
    order_id = uuid4()
    query = f'subscription {{ orderEvents(orderId: "{order_id}") }}'
    async with stream(served, query) as events:
        await until(lambda: live.hub.subscribers)
        version = await write_events(engine, order_id, 0, *[EventType.ORDER_UPDATED] * 3)
        live.poke()
        seen = await events.data(2)
    await until(lambda: not live.hub.subscribers)
    await write_events(engine, order_id, version, *[EventType.ORDER_UPDATED] * 2)
    async with stream(served, query, last_event_id=str(seen[-1]["cursor"])) as events:
        seen += await events.data(3)
    assert [event["version"] for event in seen] == [1, 2, 3, 4, 5]


async def test_an_expired_cursor_is_told_and_the_stream_completes(served: str) -> None:
    foreign = str(cursors.Cursor(uuid4(), 1))
    async with stream(served, "subscription { orderEvents }", last_event_id=foreign) as events:
        shown = orjson.loads((await events.next())["data"])
        assert shown["errors"][0]["extensions"]["code"] == "CURSOR_EXPIRED"
        assert (await events.next())["event"] == "complete"


async def test_a_quiet_stream_is_kept_alive_by_comments(served: str, live: Live) -> None:
    live.hub.bounds = replace(live.hub.bounds, heartbeat_seconds=0.05)
    async with stream(served, "subscription { orderEvents }") as events, asyncio.timeout(5):
        assert await anext(events._lines) == ":"


async def test_a_server_that_goes_away_cuts_the_stream_without_completing_it(served: str, live: Live) -> None:
    async with stream(served, "subscription { orderEvents }") as events:
        await until(lambda: live.hub.subscribers)
        await live.drain(0)
        with pytest.raises(httpx2.RemoteProtocolError):
            await events.next()
    await until(lambda: not live.connections and not live.hub.subscribers)
