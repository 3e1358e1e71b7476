"""Demo data: something of everything, sound in every invariant, the same every time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.cli.database import bring_to_head
from app.demo import large, load
from db.engine import create_write_engine
from db.events import Consumer, EventLog, Relay
from db.orders import Order, OrderLine
from db.products import Product
from domain import fulfillment, orders, payments, shipments
from domain.orders import OrderStatus
from domain.states import Machine
from tests.invariants import assert_invariants

MACHINES: dict[str, Machine[Any]] = {
    "ORDER": orders.ORDER,
    "PAYMENT": payments.PAYMENT,
    "FULFILLMENT_ORDER": fulfillment.FULFILLMENT_ORDER,
    "SHIPMENT": shipments.SHIPMENT,
}

TOLD: list[tuple[str, int, int]] = []


def tell(what: str, done: int, total: int) -> None:
    TOLD.append((what, done, total))


async def rows(engine: AsyncEngine, statement: Any) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(statement)]


async def contents(engine: AsyncEngine) -> list[Any]:
    """What the set says, without its ids and dates."""
    return [
        await rows(
            engine, sa.select(Order.number, Order.status, Order.original_total).order_by(Order.number)
        ),
        await rows(
            engine,
            sa.select(Order.number, OrderLine.sku, OrderLine.quantity, OrderLine.quantity_backordered)
            .join(Order, Order.id == OrderLine.order_id)
            .order_by(Order.number, OrderLine.line_number),
        ),
    ]


async def test_the_small_set_shows_orders_in_every_state(database_url: str, engine: AsyncEngine) -> None:
    await load(database_url, "small", tell)
    await assert_invariants(engine)
    counted = dict(await rows(engine, sa.select(Order.status, sa.func.count()).group_by(Order.status)))
    assert set(counted) == set(OrderStatus) - {OrderStatus.DRAFT}
    assert sum(counted.values()) == 200
    for table, column in (
        ("returns", "customer_status"),
        ("fulfillment_order", "status"),
        ("shipment", "status"),
    ):
        assert len(await rows(engine, sa.text(f"select distinct {column} from {table}"))) >= 2, table
    for table in ("backorder", "allocation", "order_hold", "refund", "reservation", "discrepancy"):
        assert await rows(engine, sa.text(f"select 1 from {table} limit 1")), table
    assert TOLD[-1][1] == TOLD[-1][2]


async def test_the_small_set_is_the_same_every_time(
    database_url: str, engine: AsyncEngine, empty_database_url: str
) -> None:
    await asyncio.to_thread(bring_to_head, empty_database_url)
    await load(database_url, "small", tell)
    await load(empty_database_url, "small", tell)
    other = create_write_engine(empty_database_url)
    try:
        assert await contents(engine) == await contents(other)
    finally:
        await other.dispose()


async def test_the_large_set_is_sound_and_refers_to_nothing_that_is_not_there(engine: AsyncEngine) -> None:
    size = large.Size(orders=3_000, products=100, customers=200)
    before = await indexes(engine)
    async with engine.begin() as session:
        await large.load(session, tell, size, check_references=True)
    await assert_invariants(engine)
    assert await indexes(engine) == before
    assert await rows(engine, sa.select(sa.func.count()).select_from(Order)) == [(3_000,)]
    assert await rows(engine, sa.select(sa.func.count()).select_from(OrderLine)) == [(9_000,)]
    assert await rows(engine, sa.select(sa.func.count()).select_from(Product)) == [(100,)]
    positions = sa.select(
        sa.func.count(), sa.func.max(EventLog.position), sa.select(Relay.position).scalar_subquery()
    )
    [(count, highest, relayed)] = await rows(engine, positions)
    assert count == highest == relayed
    assert await rows(engine, sa.select(Consumer.position).where(Consumer.name == "jobs")) == [(highest,)]
    out_of_order = sa.text(
        "select count(*) from (select occurred_at < lag(occurred_at) over (order by position) as early "
        "from event_log where aggregate_kind = 'ORDER') steps where early"
    )
    assert await rows(engine, out_of_order) == [(0,)]


async def indexes(engine: AsyncEngine) -> list[tuple[Any, ...]]:
    return await rows(
        engine,
        sa.text("select indexdef from pg_indexes where schemaname = 'public' order by indexdef"),
    )


@pytest.mark.parametrize("life", list(large._lives()), ids=lambda life: str(life)[:40])
def test_every_life_of_the_large_set_follows_the_state_tables(life: Any) -> None:
    _, _, steps = life
    reached: dict[str, str] = {}
    for _, subject, before, after, _ in steps:
        if after is None:
            continue
        machine = MACHINES[subject]
        assert reached.get(subject) == before
        if before is None:
            assert machine.states(after) in machine.initial
        else:
            assert machine.can(machine.states(before), machine.states(after))
        reached[subject] = after
