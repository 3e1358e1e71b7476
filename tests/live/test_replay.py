"""Many who come back at once are read together, and each is shown what it has missed and nothing else."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.live import replay
from app.live.live import Live
from db import cursors
from domain.events import EventType
from tests.live.clients import Client, until
from tests.live.log import write_events
from tests.live.planner import Planner

EVENTS = 3
READERS = 20


async def missed(live: Live, engine: AsyncEngine) -> list[UUID]:
    """Orders of `EVENTS` events each, which the hub has passed."""
    orders = [uuid4() for _ in range(READERS)]
    versions = dict.fromkeys(orders, 0)
    for _ in range(EVENTS):
        for order_id in orders:
            versions[order_id] = await write_events(
                engine, order_id, versions[order_id], EventType.ORDER_UPDATED
            )
    live.poke()
    await until(lambda: live.hub.tail == READERS * EVENTS)
    return orders


async def come_back(client: Client, live: Live, orders: list[UUID]) -> None:
    """Everybody has seen some first positions of the log, each more of them than the one before."""
    for number, order_id in enumerate(orders):
        after = cursors.Cursor(live.hub.epoch, number)
        await client.subscribe(
            str(number), f'subscription {{ orderEvents(orderId: "{order_id}", after: "{after}") }}'
        )
    for number, order_id in enumerate(orders):
        events = await client.events(str(number), EVENTS)
        assert [(event["orderId"], event["version"]) for event in events] == [
            (str(order_id), version) for version in range(1, EVENTS + 1)
        ]
    assert await client.silent(0.1)


async def test_those_who_come_back_together_are_read_together(
    served: str, live: Live, engine: AsyncEngine, planner: Planner
) -> None:
    orders = await missed(live, engine)
    async with Client.to(served) as client:
        await come_back(client, live, orders)
    assert planner.renders < READERS


async def test_what_cannot_be_read_together_is_read_one_by_one(
    served: str, live: Live, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = await missed(live, engine)
    made = replay._positions

    def of_one(columns: tuple[str, ...], readers: int) -> tuple[str, tuple[str, ...]]:
        if readers > 1:
            raise asyncpg.QueryCanceledError("it takes too long")
        return made(columns, readers)

    monkeypatch.setattr(replay, "_positions", of_one)
    async with Client.to(served) as client:
        await come_back(client, live, orders)


async def test_who_leaves_while_it_waits_holds_up_nobody(
    served: str, live: Live, engine: AsyncEngine
) -> None:
    orders = await missed(live, engine)
    turns = [live.hub._reads.acquire() for _ in range(live.hub.bounds.replay_connections)]
    await asyncio.gather(*turns)
    async with Client.to(served) as leaving, Client.to(served) as staying:
        after = cursors.Cursor(live.hub.epoch, 0)
        for client in (leaving, staying):
            for number in (0, 1):
                query = f'subscription {{ orderEvents(orderId: "{orders[number]}", after: "{after}") }}'
                await client.subscribe(str(number), query)
        await until(lambda: len(live.hub.subscribers) == 4)
        leaving.connection.transport.abort()
        await until(lambda: len(live.hub.subscribers) == 2)
        for _ in turns:
            live.hub._reads.release()
        for number in (0, 1):
            events = await staying.events(str(number), EVENTS)
            assert [event["version"] for event in events] == [1, 2, 3]
    assert not live.hub.replay._waiting
