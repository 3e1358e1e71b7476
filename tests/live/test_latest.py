"""`mode: LATEST`: of what waits together only the newest of each order, and the last one always."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from app.auth import guest
from app.live.live import Live
from db import cursors
from domain.events import EventType
from tests.live.clients import Client, until
from tests.live.log import write_events
from tests.live.planner import Planner

UPDATED, PLACED, HELD = EventType.ORDER_UPDATED, EventType.ORDER_PLACED, EventType.ORDER_HELD


def latest(live: Live, after: int | None = None) -> str:
    cursor = "" if after is None else f', after: "{cursors.Cursor(live.hub.epoch, after)}"'
    return f"subscription {{ orderEvents(mode: LATEST{cursor}) }}"


def shown(events: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(event["orderId"], event["version"]) for event in events]


async def written(live: Live, engine: AsyncEngine, *batches: tuple[UUID, int, list[EventType]]) -> None:
    for order_id, version, types in batches:
        await write_events(engine, order_id, version, *types)
    live.poke()
    expected = live.hub.tail + sum(len(types) for _, _, types in batches)
    await until(lambda: live.hub.delivered >= expected)


async def test_who_catches_up_is_shown_the_newest_event_of_each_order_in_their_order(
    served: str, live: Live, engine: AsyncEngine
) -> None:
    first, second = uuid4(), uuid4()
    await written(live, engine, (first, 0, [UPDATED] * 3), (second, 0, [UPDATED] * 2), (first, 3, [UPDATED]))
    async with Client.to(served) as client:
        await client.subscribe("1", latest(live, 0))
        assert shown(await client.events("1", 2)) == [(str(second), 2), (str(first), 4)]
        assert await client.silent(0.2)


async def test_a_batch_is_shown_by_its_newest_events_and_the_next_one_too(
    served: str, live: Live, engine: AsyncEngine, planner: Planner
) -> None:
    order_id = uuid4()
    async with Client.to(served) as client, Client.to(served) as other:
        await client.subscribe("1", latest(live))
        await other.subscribe("1", "subscription { orderEvents }")
        await until(lambda: len(live.hub.subscribers) == 2)
        await written(live, engine, (order_id, 0, [UPDATED] * 5))
        assert shown(await client.events("1", 1)) == [(str(order_id), 5)]
        await written(live, engine, (order_id, 5, [UPDATED]))
        assert shown(await client.events("1", 1)) == [(str(order_id), 6)]
        assert len(await other.events("1", 6)) == 6
    assert planner.renders == 2  # one for both in each batch


async def test_the_newest_is_the_newest_that_may_be_seen(
    served: str, live: Live, engine: AsyncEngine
) -> None:
    order_id = uuid4()
    await written(live, engine, (order_id, 0, [PLACED, UPDATED, HELD]))
    async with Client.to(served, guest(order_id)) as client:
        await client.subscribe("1", latest(live, 0))
        assert shown(await client.events("1", 1)) == [(str(order_id), 1)]
        await written(live, engine, (order_id, 3, [EventType.ORDER_CONFIRMED, HELD]))
        assert shown(await client.events("1", 1)) == [(str(order_id), 4)]


async def test_a_slow_reader_ends_at_the_last_event_of_every_order_and_never_goes_back(
    served: str, live: Live, engine: AsyncEngine
) -> None:
    orders = [uuid4() for _ in range(20)]
    async with Client.to(served) as client:
        client.connection.transport.pause_reading()
        await client.subscribe("1", latest(live))
        await until(lambda: live.hub.subscribers)
        for turn in range(150):
            await asyncio.gather(*(write_events(engine, order_id, turn, UPDATED) for order_id in orders))
            live.poke()
        await until(lambda: live.hub.tail == 3_000, within=30)
        client.connection.transport.resume_reading()
        last: dict[str, int] = {}
        count = 0
        while last != {str(order_id): 150 for order_id in orders}:
            for event in await client.events("1", 1):
                assert event["version"] > last.get(event["orderId"], 0)
                last[event["orderId"]] = event["version"]
                count += 1
        assert await client.silent(0.2)
    assert count < 3_000
