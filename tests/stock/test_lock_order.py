"""Use cases that lock the same rows from opposite ends, on real connections: no deadlock reaches a caller.

Whatever is raised must be a refusal; the invariants hold at the end. A departure that finds
too few learns only from the locked level which orders must give way, so it may meet whoever
comes the other way: such a deadlock is retried, and this is the test of it. Counts that find
too few take their locks again until they hold the right ones: they meet nobody so.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from db.discrepancies import Discrepancy
from db.engine import create_write_engine
from domain.access import SYSTEM
from domain.discrepancies import DiscrepancyKind
from domain.errors import Refused
from domain.order_commands import CancelOrder
from domain.shipment_commands import DispatchShipment
from domain.stock_commands import AdjustStock, ReceiveStock, StockPlace
from services.backorders import ServeBackorders, serve_backorders
from services.dispatches import dispatch_shipment
from services.order_cancellation import cancel_order
from services.reservations import (
    ReleaseReservation,
    ReserveLine,
    ReserveStock,
    expire_reservations,
    release_reservation,
    reserve_stock,
)
from services.stock_intake import adjust_stocks, receive_stocks
from services.unit_of_work import UnitOfWork
from tests.fulfillment.steps import fulfillment_orders
from tests.invariants import assert_invariants
from tests.world import EXTERNAL, STAFF, World, make_world

CALLERS, STEPS = 8, 15
SKUS = "abc"


class Caller:
    """Does one thing after the other, naming products in whatever order the dice say."""

    def __init__(self, world: World, work: UnitOfWork, orders: list[UUID], seed: int) -> None:
        self.world, self.work, self.orders = world, work, orders
        self.dice = random.Random(seed)  # noqa: S311 - a test's dice
        self.refused = self.done = 0

    def skus(self) -> list[str]:
        return self.dice.sample(SKUS, self.dice.randint(2, 3))

    def places(self) -> list[StockPlace]:
        codes = self.dice.sample(["main", "far"], 2)
        return [
            StockPlace(product_id=self.world.products[sku], location_id=self.world.locations[code])
            for sku in self.skus()
            for code in codes
        ]

    async def run(self, use_case: Any, command: Any, actor: Any = STAFF) -> Any:
        return await self.work.run(use_case, command, actor=actor)

    async def place(self) -> None:
        self.orders.append(await self.world.place(*((sku, 2) for sku in self.skus()), payment=EXTERNAL))

    async def cancel(self) -> None:
        await self.run(cancel_order, CancelOrder(order_id=self.dice.choice(self.orders)))

    async def dispatch(self) -> None:
        for found in await fulfillment_orders(self.world, self.dice.choice(self.orders)):
            await self.run(dispatch_shipment, DispatchShipment(fulfillment_order_id=found.id, carrier="DHL"))

    async def receive(self) -> None:
        await self.run(receive_stocks, [ReceiveStock(place=place, quantity=3) for place in self.places()])

    async def count(self) -> None:
        counts = [
            AdjustStock(place=place, reason="Counted", counted=self.dice.randint(0, 9))
            for place in self.places()
        ]
        await self.run(adjust_stocks, counts)

    async def reserve_and_release(self) -> None:
        command = ReserveStock(
            channel_id=self.world.channel_id,
            lines=tuple(ReserveLine(sku=sku, quantity=1) for sku in self.skus()),
            minutes=5,
        )
        reservation_id = await self.run(reserve_stock, command)
        if self.dice.random() < 0.5:
            await self.run(release_reservation, ReleaseReservation(reservation_id=reservation_id))
        else:
            async with self.world.engine.begin() as session:
                await session.execute(
                    sa.text("update reservation set expires_at = now() where id = :id"),
                    {"id": reservation_id},
                )
            await self.run(expire_reservations, 10, SYSTEM)

    async def serve(self) -> None:
        level = await self.world.level(self.dice.choice(SKUS), self.dice.choice(["main", "far"]))
        await self.run(serve_backorders, ServeBackorders(level_id=level.id), SYSTEM)

    async def live(self, *, with_departures: bool = True) -> None:
        steps: list[Callable[[], Awaitable[None]]] = [
            self.place, self.place, self.cancel, self.receive, self.count, self.reserve_and_release, self.serve,
        ]  # fmt: skip
        steps.append(self.dispatch if with_departures else self.count)
        for _ in range(STEPS):
            try:
                await self.dice.choice(steps)()
                self.done += 1
            except Refused:
                self.refused += 1


@pytest.mark.parametrize("seed", range(2))
async def test_no_deadlock_reaches_a_caller(engine: AsyncEngine, database_url: str, seed: int) -> None:
    world = await make_world(
        engine,
        {sku: {"main": 8, "far": 8} for sku in SKUS},
        backorderable=frozenset("bc"),
        locations=("main", "far"),
    )
    orders = [await world.place(("a", 1), ("b", 1)), await world.place(("c", 1), ("a", 1))]
    pool = create_write_engine(database_url, pool_size=CALLERS)
    try:
        callers = [Caller(world, UnitOfWork(pool), orders, 50 * seed + number) for number in range(CALLERS)]
        await asyncio.gather(*(caller.live() for caller in callers))
    finally:
        await pool.dispose()
    assert sum(caller.done for caller in callers) > CALLERS * STEPS / 3
    await assert_invariants(engine)


@pytest.mark.parametrize("seed", range(2))
async def test_counts_that_find_too_few_never_deadlock(
    engine: AsyncEngine, database_url: str, seed: int
) -> None:
    world = await make_world(
        engine,
        {sku: {"main": 8, "far": 8} for sku in SKUS},
        backorderable=frozenset("bc"),
        locations=("main", "far"),
    )
    orders = [await world.place(("a", 1), ("b", 1)), await world.place(("c", 1), ("a", 1))]
    pool = create_write_engine(database_url, pool_size=CALLERS)
    deadlocks: list[str] = []
    pool.on_statement(
        lambda sent: (
            deadlocks.append(sent.query)
            if isinstance(sent.exception, asyncpg.DeadlockDetectedError)
            else None
        )
    )
    try:
        callers = [Caller(world, UnitOfWork(pool), orders, 50 * seed + number) for number in range(CALLERS)]
        await asyncio.gather(*(caller.live(with_departures=False) for caller in callers))
    finally:
        await pool.dispose()
    assert deadlocks == []
    assert sum(caller.done for caller in callers) > CALLERS * STEPS / 3
    short = Discrepancy.kind == DiscrepancyKind.SHORTAGE
    assert await world.all(sa.select(Discrepancy.id).where(short))
    await assert_invariants(engine)
