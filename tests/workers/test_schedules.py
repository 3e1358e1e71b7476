"""What time and arriving stock do, by workers that nobody calls."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from db.idempotency import IdempotencyKey
from db.orders import OrderLine
from db.stock import Reservation
from domain.access import SYSTEM
from domain.reservations import ReservationStatus
from domain.stock import Bucket, MovementKind
from services import stock_changes
from services.reservations import ReserveLine, ReserveStock, reserve_stock
from services.retention import reap_keys
from services.stock_changes import Movement
from tests.payments.shop import Shop
from tests.workers.conftest import Waits


@pytest.mark.usefixtures("background")
async def test_a_reservation_whose_time_is_over_frees_its_stock_within_seconds(
    shop: Shop, eventually: Waits
) -> None:
    command = ReserveStock(
        channel_id=shop.channel_id, lines=(ReserveLine(sku="MUG", quantity=5),), minutes=10
    )
    reservation_id = await shop.work.run(reserve_stock, command, actor=SYSTEM)
    assert await shop.available() == 95
    await shop.execute("update reservation set expires_at = now()")

    async def expired() -> None:
        async with shop.engine.connect() as session:
            statement = sa.select(Reservation.status).where(Reservation.id == reservation_id)
            assert (await session.execute(statement)).scalar_one() is ReservationStatus.EXPIRED

    await eventually(expired)
    assert await shop.available() == 100


@pytest.mark.usefixtures("background")
async def test_stock_that_arrives_is_allocated_to_who_waits_for_it(shop: Shop, eventually: Waits) -> None:
    order_id = await shop.order(quantity=103)
    (line,) = await shop.rows(OrderLine, order_id)
    assert (line.quantity_allocated, line.quantity_backordered) == (100, 3)
    async with shop.engine.begin() as session:
        now = (await session.execute(sa.select(sa.func.now()))).scalar_one()
        await stock_changes.apply(
            session,
            await stock_changes.lock_levels(session, [shop.level_id]),
            movements=[
                Movement(
                    level_id=shop.level_id, bucket=Bucket.SELLABLE, quantity=10, kind=MovementKind.RECEIPT
                )
            ],
            actor="tests",
            now=now,
        )

    async def served() -> None:
        (line,) = await shop.rows(OrderLine, order_id)
        assert (line.quantity_allocated, line.quantity_backordered) == (103, 0)

    await eventually(served)
    assert await shop.available() == 7


async def test_idempotency_keys_are_kept_for_seven_days(shop: Shop) -> None:
    for _ in range(3):
        await shop.order(quantity=1)
    async with shop.engine.begin() as session:
        kept = sa.update(IdempotencyKey).values(created_at=sa.func.now() - timedelta(days=6, hours=23))
        await session.execute(kept)
        assert await reap_keys(session, timedelta(days=7)) == 0
        await session.execute(kept.values(created_at=sa.func.now() - timedelta(days=7, hours=1)))
        assert await reap_keys(session, timedelta(days=7), 2) == 2
        assert await reap_keys(session, timedelta(days=7), 2) == 1
