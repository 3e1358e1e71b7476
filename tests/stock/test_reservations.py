"""Reservations, and backorders that are served when stock arrives."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from db.stock import Reservation
from domain.access import SYSTEM
from domain.errors import InsufficientStock, InvalidInput, Refused
from domain.stock import Bucket, MovementKind
from services import stock_changes
from services.backorders import ServeBackorders, serve_backorders
from services.reservations import (
    ReleaseReservation,
    ReserveLine,
    ReserveStock,
    expire_reservations,
    release_reservation,
    reserve_stock,
)
from services.stock_changes import Movement
from tests.invariants import assert_invariants
from tests.world import World, make_world


def reserve(world: World, quantity: int, minutes: int = 10) -> ReserveStock:
    return ReserveStock(
        channel_id=world.channel_id, lines=(ReserveLine(sku="a", quantity=quantity),), minutes=minutes
    )


async def receive(world: World, sku: str, quantity: int) -> UUID:
    """Put units on the shelf, as a receipt does."""
    level = await world.level(sku)
    async with world.engine.begin() as session:
        now = (await session.execute(sa.select(sa.func.now()))).scalar_one()
        locked = await stock_changes.lock_levels(session, [level.id])
        await stock_changes.apply(
            session,
            locked,
            movements=[
                Movement(
                    level_id=level.id, bucket=Bucket.SELLABLE, quantity=quantity, kind=MovementKind.RECEIPT
                )
            ],
            actor="test",
            now=now,
        )
    level_id: UUID = level.id
    return level_id


async def test_reserved_units_are_for_the_order_that_consumes_the_reservation(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 5})
    reservation_id = await world.run(reserve_stock, reserve(world, 4), world.partner)
    with pytest.raises(Refused) as refused:
        await world.place(("a", 2))
    assert isinstance(refused.value.errors[0], InsufficientStock)
    order_id = await world.place(("a", 5), reservation_id=reservation_id)
    level = await world.level("a")
    assert (level.allocated, level.reserved) == (5, 0)
    row = await world.one(sa.select(Reservation.__table__).where(Reservation.id == reservation_id))
    assert (row.status, row.order_id) == ("CONSUMED", order_id)
    await assert_invariants(engine)


async def test_a_reservation_serves_one_order_however_many_race_for_it(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 4})
    reservation_id = await world.run(reserve_stock, reserve(world, 4), world.partner)
    answers = await asyncio.gather(
        *(world.place(("a", 4), reservation_id=reservation_id) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(answer, UUID) for answer in answers) == 1
    await assert_invariants(engine)


async def test_releasing_twice_gives_back_once(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 5})
    reservation_id = await world.run(reserve_stock, reserve(world, 3), world.partner)
    for _ in range(2):
        await world.run(release_reservation, ReleaseReservation(reservation_id=reservation_id))
    level = await world.level("a")
    assert (level.reserved, level.allocated) == (0, 0)
    await assert_invariants(engine)


async def test_an_expired_reservation_gives_its_stock_back_and_serves_no_order(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 5})
    reservation_id = await world.run(reserve_stock, reserve(world, 3), world.partner)
    async with engine.begin() as session:
        await session.execute(sa.update(Reservation).values(expires_at=sa.func.now()))
    with pytest.raises(Refused) as refused:
        await world.place(("a", 1), reservation_id=reservation_id)
    assert isinstance(refused.value.errors[0], InvalidInput)
    assert await world.run(expire_reservations, 100, SYSTEM) == 1
    assert await world.run(expire_reservations, 100, SYSTEM) == 0
    assert (await world.level("a")).reserved == 0
    await assert_invariants(engine)


async def test_arriving_stock_serves_the_oldest_backorder_first(engine: AsyncEngine) -> None:
    world = await make_world(engine, {"a": 0}, backorderable=frozenset({"a"}))
    first, second = await world.place(("a", 3)), await world.place(("a", 3))
    level_id = await receive(world, "a", 4)
    assert await world.run(serve_backorders, ServeBackorders(level_id=level_id), SYSTEM) == 4
    (one,), (two,) = await world.lines(first), await world.lines(second)
    assert (one.quantity_allocated, one.quantity_backordered) == (3, 0)
    assert (two.quantity_allocated, two.quantity_backordered) == (1, 2)
    level = await world.level("a")
    assert (level.allocated, level.backordered) == (4, 2)
    assert await world.run(serve_backorders, ServeBackorders(level_id=level_id), SYSTEM) == 0
    await assert_invariants(engine)
