"""Checkouts that run out of time, while the workers that end them are killed at every line."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import create_write_engine
from db.stock import Reservation
from domain.access import SYSTEM
from domain.errors import Refused
from services.reservations import (
    ReleaseReservation,
    ReserveLine,
    ReserveStock,
    expire_reservations,
    release_reservation,
    reserve_stock,
)
from services.unit_of_work import UnitOfWork
from tests.invariants import assert_invariants
from tests.world import World, make_world


class Killed(BaseException):
    """The process is gone: nothing of it is caught, rolled back or sent."""


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    return await make_world(engine, {"a": {"main": 10, "far": 10}, "b": 20}, locations=("main", "far"))


def checkout(world: World, a: int = 2, b: int = 1) -> ReserveStock:
    lines = (ReserveLine(sku="a", quantity=a), ReserveLine(sku="b", quantity=b))
    return ReserveStock(channel_id=world.channel_id, lines=lines, minutes=5)


async def overdue(world: World, *reservations: UUID) -> None:
    async with world.engine.begin() as session:
        await session.execute(
            sa.text("update reservation set expires_at = now() where id = any(:ids)"),
            {"ids": list(reservations)},
        )


async def reserved(world: World) -> list[int]:
    levels = [await world.level("a"), await world.level("a", "far"), await world.level("b")]
    return [level.reserved for level in levels]


async def statuses(world: World) -> list[str]:
    rows = await world.all(sa.select(Reservation.status).order_by(Reservation.id))
    return [str(row.status) for row in rows]


async def expire_and_die(world: World, url: str, at: int) -> bool:
    """A worker that is killed before its statement number `at`; whether it got that far."""

    async def dies(session: Any, limit: int, /, *, actor: Any, now: Any) -> int:
        count = 0
        execute = session.execute

        class Dying:
            def __getattr__(self, name: str) -> Any:
                return getattr(session, name)

            async def execute(self, *arguments: Any, **more: Any) -> Any:
                nonlocal count
                count += 1
                if count == at:
                    raise Killed
                return await execute(*arguments, **more)

        return await expire_reservations(Dying(), limit, actor=actor, now=now)  # type: ignore[arg-type] # a session that dies

    engine = create_write_engine(url, pool_size=1)
    try:
        await UnitOfWork(engine).run(dies, 100, actor=SYSTEM)
    except Killed:
        return True
    finally:
        await engine.dispose()
    return False


async def test_a_worker_killed_at_any_line_leaves_all_of_it_to_the_next(
    world: World, database_url: str
) -> None:
    held = [await world.run(reserve_stock, checkout(world), world.partner) for _ in range(3)]
    kept = await world.run(reserve_stock, checkout(world, a=1), world.partner)
    await overdue(world, *held)
    before = await reserved(world)
    at = 1
    while await expire_and_die(world, database_url, at):
        assert await reserved(world) == before
        assert await statuses(world) == ["ACTIVE"] * 4
        await assert_invariants(world.engine)
        at += 1
    assert at > 4, "the worker was to be killed in the midst of its work"
    assert await statuses(world) == ["EXPIRED"] * 3 + ["ACTIVE"]
    assert sum(await reserved(world)) == 2
    await assert_invariants(world.engine)
    order_id = await world.place(("a", 1), ("b", 1), reservation_id=kept)
    assert (await world.order(order_id)).status == "CONFIRMED"
    await assert_invariants(world.engine)


@pytest.mark.parametrize("attempt", range(4))
async def test_an_order_a_release_and_two_workers_at_once_end_a_checkout_once(
    world: World, attempt: int
) -> None:
    held = [await world.run(reserve_stock, checkout(world), world.partner) for _ in range(6)]
    deadline = asyncio.create_task(overdue(world, *held[attempt % 2 :: 2]))
    answers = await asyncio.gather(
        *(world.place(("a", 2), ("b", 1), reservation_id=one) for one in held),
        *(world.run(release_reservation, ReleaseReservation(reservation_id=one)) for one in held[::3]),
        world.run(expire_reservations, 100, SYSTEM),
        world.run(expire_reservations, 2, SYSTEM),
        return_exceptions=True,
    )
    await deadline
    await world.run(expire_reservations, 100, SYSTEM)
    assert all(isinstance(answer, Refused | UUID | int) for answer in answers), [
        answer for answer in answers if not isinstance(answer, Refused | UUID | int)
    ]
    placed = [answer for answer in answers[: len(held)] if isinstance(answer, UUID)]
    ended = await statuses(world)
    assert ended.count("CONSUMED") == len(placed)
    active = ended.count("ACTIVE")
    assert sum(await reserved(world)) == 3 * active
    await assert_invariants(world.engine)
    consumed = await world.all(sa.select(Reservation.order_id).where(Reservation.status == "CONSUMED"))
    assert {row.order_id for row in consumed} == set(placed)
