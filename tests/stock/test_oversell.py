"""Ten units and two hundred who want one: ten are sold, whatever the interleaving, and not one fewer.

Every placement runs on a real connection of its own pool, with its own transaction, as
the servers' do; `attempts` is how often the whole race is run.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import create_write_engine
from db.orders import Order, OrderLine
from db.stock import StockLevel
from domain.access import Principal
from domain.errors import InsufficientStock, Refused
from domain.order_commands import PlaceLine, PlaceOrder
from services.placement import place_order
from services.reservations import ReserveLine, ReserveStock, reserve_stock
from services.unit_of_work import UnitOfWork
from tests.invariants import assert_invariants
from tests.world import EXTERNAL, World, make_world

UNITS = 10
RIVALS = 200
CONNECTIONS = 16

QUICK, FULL = 2, 20


class Pool:
    """The connections of one server; who finds none free waits, as long as it takes."""

    def __init__(self, url: str, size: int) -> None:
        self.engine = create_write_engine(url, pool_size=size)
        self._room = asyncio.Semaphore(size)
        self._work = UnitOfWork(self.engine)

    async def run(self, use_case: Any, command: Any, *, actor: Principal) -> Any:
        async with self._room:
            return await self._work.run(use_case, command, actor=actor)


@pytest.fixture
async def rivals(database_url: str) -> AsyncIterator[list[Pool]]:
    """Two pools, as of two servers."""
    pools = [Pool(database_url, CONNECTIONS // 2) for _ in "ab"]
    yield pools
    for pool in pools:
        await pool.engine.dispose()


def attempts(quick: int = QUICK) -> Any:
    """The race a few times in every run of the tests, twenty times in the slow one."""
    return pytest.mark.parametrize(
        "times", [quick, pytest.param(FULL, marks=pytest.mark.slow)], ids=["quick", "twenty times"]
    )


async def race(
    world: World, rivals: Sequence[Pool], lines: tuple[PlaceLine, ...], buyers: int = RIVALS
) -> tuple[list[UUID], Counter[str]]:
    """Everybody orders these lines at once: the orders that were placed, and why the others were not."""
    command = PlaceOrder(
        channel_id=world.channel_id, lines=lines, customer_id=world.customer_id, payment=EXTERNAL
    )
    answers = await asyncio.gather(
        *(
            rivals[number % len(rivals)].run(place_order, command, actor=world.partner)
            for number in range(buyers)
        ),
        return_exceptions=True,
    )
    placed = [answer for answer in answers if isinstance(answer, UUID)]
    refused: Counter[str] = Counter()
    for answer in answers:
        if isinstance(answer, Refused):
            assert all(isinstance(error, InsufficientStock) for error in answer.errors), answer
            refused[type(answer.errors[0]).__name__] += 1
        elif isinstance(answer, BaseException):
            raise answer
    return placed, refused


async def sold(world: World) -> tuple[int, int]:
    """Units on lines of orders, and units that the levels have allocated."""
    ordered = await world.one(sa.select(sa.func.coalesce(sa.func.sum(OrderLine.quantity_allocated), 0)))
    claimed = await world.one(sa.select(sa.func.coalesce(sa.func.sum(StockLevel.allocated), 0)))
    return int(ordered[0]), int(claimed[0])


async def restock(world: World) -> None:
    """Everything is as before the race: nothing is sold, all units are there."""
    async with world.engine.begin() as session:
        for statement in (
            "delete from allocation",
            "delete from fulfillment_order_line",
            "delete from fulfillment_order",
            "delete from backorder",
            "update order_line set quantity_cancelled = quantity, quantity_allocated = 0",
            "update stock_level set allocated = 0",
        ):
            await session.execute(sa.text(statement))


def line(sku: str = "a", quantity: int = 1) -> PlaceLine:
    return PlaceLine(sku=sku, quantity=quantity, unit_price=1000)


@attempts()
async def test_ten_units_are_sold_ten_times_to_two_hundred(
    engine: AsyncEngine, rivals: list[Pool], times: int
) -> None:
    world = await make_world(engine, {"a": UNITS})
    for number in range(times):
        placed, refused = await race(world, rivals, (line(),))
        assert (len(placed), refused.total()) == (UNITS, RIVALS - UNITS)
        assert await sold(world) == (UNITS, UNITS)
        if number == 0:
            await assert_invariants(engine)
        await restock(world)


@attempts()
async def test_two_lines_of_one_order_are_one_demand(
    engine: AsyncEngine, rivals: list[Pool], times: int
) -> None:
    """Each order asks for two units on two lines: five orders fit into ten units, and none half."""
    world = await make_world(engine, {"a": UNITS})
    for number in range(times):
        placed, refused = await race(world, rivals, (line(), line()))
        assert (len(placed), refused.total()) == (UNITS // 2, RIVALS - UNITS // 2)
        assert await sold(world) == (UNITS, UNITS)
        if number == 0:
            await assert_invariants(engine)
        await restock(world)


@attempts()
async def test_two_locations_sell_what_lies_at_both(
    engine: AsyncEngine, rivals: list[Pool], times: int
) -> None:
    world = await make_world(engine, {"a": {"main": 4, "far": 6}}, locations=("main", "far"))
    for number in range(times):
        placed, refused = await race(world, rivals, (line(),))
        assert (len(placed), refused.total()) == (UNITS, RIVALS - UNITS)
        levels = [(await world.level("a", code)).allocated for code in ("main", "far")]
        assert levels == [4, 6]
        if number == 0:
            await assert_invariants(engine)
        await restock(world)


@attempts()
async def test_orders_that_take_from_both_locations_leave_no_unit_unsold(
    engine: AsyncEngine, rivals: list[Pool], times: int
) -> None:
    """Three units an order, five at each location: the second order needs both, and three fit in all."""
    world = await make_world(engine, {"a": {"main": 5, "far": 5}}, locations=("main", "far"))
    for number in range(times):
        placed, _ = await race(world, rivals, (line(quantity=2), line(quantity=1)), buyers=60)
        assert len(placed) == 3
        assert await sold(world) == (9, 9)
        if number == 0:
            await assert_invariants(engine)
        await restock(world)


@attempts()
async def test_opposed_orders_of_lines_sell_everything_without_a_deadlock(
    engine: AsyncEngine, rivals: list[Pool], times: int
) -> None:
    """Half of them name a before b, half b before a."""
    world = await make_world(engine, {"a": UNITS, "b": UNITS})
    for number in range(times):
        answers = await asyncio.gather(
            race(world, rivals, (line("a"), line("b")), buyers=RIVALS // 2),
            race(world, rivals, (line("b"), line("a")), buyers=RIVALS // 2),
        )
        assert sum(len(placed) for placed, _ in answers) == UNITS
        assert await sold(world) == (2 * UNITS, 2 * UNITS)
        if number == 0:
            await assert_invariants(engine)
        await restock(world)
    deadlocks = await world.one(
        sa.text("select deadlocks from pg_stat_database where datname = current_database()").columns(  # type: ignore[arg-type] # a text select
            deadlocks=sa.Integer()
        )
    )
    assert deadlocks[0] == 0


async def test_checkouts_and_orders_share_the_units_without_overlap(
    engine: AsyncEngine, rivals: list[Pool]
) -> None:
    world = await make_world(engine, {"a": UNITS})
    reserve = ReserveStock(channel_id=world.channel_id, lines=(ReserveLine(sku="a", quantity=1),), minutes=10)
    reserving = asyncio.gather(
        *(rivals[0].run(reserve_stock, reserve, actor=world.partner) for _ in range(100)),
        return_exceptions=True,
    )
    placed, _ = await race(world, rivals, (line(),), buyers=100)
    held = [answer for answer in await reserving if isinstance(answer, UUID)]
    level = await world.level("a")
    assert (level.allocated, level.reserved) == (len(placed), len(held))
    assert len(placed) + len(held) == UNITS
    # Every checkout gets its order, however sold out it is for everybody else.
    for reservation_id in held:
        order_id = await world.place(("a", 1), reservation_id=reservation_id)
        assert (await world.one(sa.select(Order.status).where(Order.id == order_id)))[0] == "CONFIRMED"
    assert await sold(world) == (UNITS, UNITS)
    await assert_invariants(engine)
