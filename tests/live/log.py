"""Writing events without the rest of the product: the log does not care what they are about."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from db.events import EventLog, Outbox, Relay
from domain.events import AggregateKind, EventType
from domain.orders import Origin
from services import events
from services.events import Aggregate, Event
from services.relay import move

NOW = datetime(2026, 1, 5, 12, 30, tzinfo=UTC)


async def write_events(
    engine: AsyncEngine,
    order_id: UUID,
    version: int,
    *types: EventType,
    customer_id: UUID | None = None,
    channel_id: UUID | None = None,
) -> int:
    """One transaction that records these of an order that is at `version`; returns the new one."""
    aggregate = Aggregate(
        kind=AggregateKind.ORDER,
        id=order_id,
        version=version,
        order_id=order_id,
        customer_id=customer_id,
        channel_id=channel_id,
    )
    happened = [Event(type=kind, subject_kind="ORDER", subject_id=order_id) for kind in types]
    async with engine.begin() as session:
        return await events.record(session, aggregate, happened, actor="test", now=NOW, origin=Origin.PLACED)


async def write_many(
    engine: AsyncEngine, count: int, *, orders: Sequence[UUID] = (), kind: EventType = EventType.ORDER_UPDATED
) -> None:
    """`count` transactions by four writers at once, each on orders of its own."""

    async def writer(own: Sequence[UUID], times: int) -> None:
        versions = dict.fromkeys(own, 0)
        for number in range(times):
            order_id = own[number % len(own)]
            versions[order_id] = await write_events(engine, order_id, versions[order_id], kind)

    chosen = list(orders) or [uuid4() for _ in range(8)]
    shares = [chosen[number::4] for number in range(min(4, len(chosen)))]
    await asyncio.gather(*(writer(own, count // len(shares)) for own in shares))


async def move_all(engine: AsyncEngine, limit: int = 1000) -> int:
    """Relay what is committed; returns how many rows that was."""
    moved = 0
    while True:
        async with engine.begin() as session:
            count = await move(session, limit)
        if not count:
            return moved
        moved += count


async def assert_sound(engine: AsyncEngine) -> int:
    """Positions are dense, versions too and in their order, nothing is twice there; returns the rows."""
    log = EventLog.__table__.c
    async with engine.connect() as session:
        rows = (
            await session.execute(
                sa.select(log.position, log.aggregate_id, log.version).order_by(log.position)
            )
        ).all()
        position = (await session.execute(sa.select(Relay.position))).scalar_one()
        twice = (
            await session.execute(
                sa.select(sa.func.count())
                .select_from(Outbox)
                .join(EventLog, EventLog.event_id == Outbox.event_id)
            )
        ).scalar_one()
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    assert position == len(rows)
    assert twice == 0
    versions: dict[UUID, int] = {}
    for row in rows:
        assert row.version == versions.get(row.aggregate_id, 0) + 1
        versions[row.aggregate_id] = row.version
    return len(rows)
