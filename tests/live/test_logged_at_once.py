"""A transaction logs its events itself when nobody else gives positions and none wait before them."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from db.engine import Engine
from db.events import EventLog, Outbox, Relay
from domain.events import EventType
from services import events
from services.feed import MATCHED
from services.relay import AT_ONCE, move
from tests.live.log import NOW, assert_sound, move_all, write_events, write_many


async def _waiting(engine: Engine) -> int:
    async with engine.connect() as session:
        return int(await session.scalar(sa.select(sa.func.count()).select_from(Outbox)))


async def _logged(engine: Engine, order_id: UUID) -> list[tuple[int, int]]:
    """Positions and versions."""
    log = EventLog.__table__.c
    query = sa.select(log.position, log.version).where(log.aggregate_id == order_id).order_by(log.position)
    async with engine.connect() as session:
        return [tuple(row) for row in await session.execute(query)]


async def test_events_are_in_the_log_when_their_transaction_is_committed(engine: Engine) -> None:
    order_id = uuid4()
    await write_events(engine, order_id, 0, EventType.ORDER_PLACED, EventType.ORDER_CONFIRMED, at_once=True)
    await write_events(engine, order_id, 2, EventType.ORDER_COMPLETED, at_once=True)
    assert await _waiting(engine) == 0
    assert await _logged(engine, order_id) == [(1, 1), (2, 2), (3, 3)]
    assert await assert_sound(engine) == 3


async def test_what_was_logged_is_told_as_the_relay_tells_it(engine: Engine) -> None:
    order_id = uuid4()
    aggregate = events.Aggregate(kind=events.AggregateKind.ORDER, id=order_id, version=0, order_id=order_id)
    happened = [events.Event(type=EventType.ORDER_PLACED, subject_kind="ORDER", subject_id=order_id)]
    async with engine.begin(gathering=True, closing=AT_ONCE) as session:
        await events.record(session, aggregate, happened, actor="test", now=NOW)
    ((row),) = session.closed_with
    assert tuple(row.keys()) == MATCHED
    assert (row["position"], row["order_id"], row["type"]) == (1, order_id, "ORDER_PLACED")


@pytest.mark.parametrize("who", ["a relay", "a transaction"])
async def test_nobody_waits_for_another_who_gives_positions(engine: Engine, who: str) -> None:
    order_id, first, second = uuid4(), uuid4(), uuid4()
    await write_events(engine, first, 0, EventType.ORDER_PLACED)
    async with engine.begin(gathering=True, closing=AT_ONCE) as other:
        if who == "a relay":
            assert await move(other) == 1
        else:
            await move_all(engine)
            await _record(other, second, 0)
            await other.flush(last=True)
        await asyncio.wait_for(write_events(engine, order_id, 0, EventType.ORDER_PLACED, at_once=True), 1)
    assert await _waiting(engine) == 1
    assert await _logged(engine, order_id) == []
    assert await move_all(engine) == 1
    assert await assert_sound(engine) == (2 if who == "a relay" else 3)


async def _record(session: Any, order_id: UUID, version: int) -> None:
    aggregate = events.Aggregate(
        kind=events.AggregateKind.ORDER, id=order_id, version=version, order_id=order_id
    )
    happened = [events.Event(type=EventType.ORDER_UPDATED, subject_kind="ORDER", subject_id=order_id)]
    await events.record(session, aggregate, happened, actor="test", now=NOW)


async def test_events_wait_behind_those_that_wait_already(engine: Engine) -> None:
    order_id = uuid4()
    await write_events(engine, order_id, 0, EventType.ORDER_PLACED)
    await write_events(engine, order_id, 1, EventType.ORDER_CONFIRMED, at_once=True)
    assert await _waiting(engine) == 2
    await move_all(engine)
    assert await _logged(engine, order_id) == [(1, 1), (2, 2)]


async def test_a_transaction_that_had_to_send_events_earlier_keeps_them_in_order(engine: Engine) -> None:
    order_id = uuid4()
    async with engine.begin(gathering=True, closing=AT_ONCE) as session:
        await _record(session, order_id, 0)
        await session.flush()
        await _record(session, order_id, 1)
    assert await _waiting(engine) == 2
    await move_all(engine)
    assert await _logged(engine, order_id) == [(1, 1), (2, 2)]


async def test_positions_of_a_transaction_that_ends_otherwise_are_given_again(engine: Engine) -> None:
    lost, order_id = uuid4(), uuid4()
    async with engine.connect(gathering=True, closing=AT_ONCE) as session:
        await _record(session, lost, 0)
        await session.flush(last=True)
        assert [row["position"] for row in session.closed_with] == [1]
    await write_events(engine, order_id, 0, EventType.ORDER_PLACED, at_once=True)
    assert await _logged(engine, lost) == []
    assert await _logged(engine, order_id) == [(1, 1)]
    assert await assert_sound(engine) == 1


async def test_writers_of_both_kinds_relays_and_retention_at_once_leave_no_hole(engine: Engine) -> None:
    done = asyncio.Event()
    count = 600

    async def relay() -> None:
        while True:
            finished = done.is_set()
            async with engine.begin() as session:
                moved = await move(session, limit=5)
            if not moved and finished and not await _waiting(engine):
                return
            await asyncio.sleep(0.001)

    async def retention() -> None:
        while not done.is_set():
            await asyncio.sleep(0.002)
            async with engine.begin() as session:
                await session.execute(sa.update(Relay).values(horizon=Relay.horizon))

    async def write() -> None:
        await write_many(engine, count, mixed=True)
        done.set()

    await asyncio.wait_for(asyncio.gather(relay(), relay(), retention(), write()), 60)
    assert await assert_sound(engine) == count
