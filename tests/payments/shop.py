"""A small shop for tests of money: one channel, one location, one product, and orders of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from db.base import new_id
from db.channels import Channel, ChannelLocation
from db.locations import Location
from db.orders import Order, OrderLine
from db.payments import Payment, PaymentTransaction, Refund
from db.products import Product
from db.stock import StockLevel
from domain.access import SYSTEM
from domain.order_commands import PaymentIntent, PlaceLine, PlaceOrder
from domain.orders import ChannelKind, CollectedBy, PricingAuthority, ReleaseGate
from domain.payments import PaymentMethod
from domain.stock import Bucket, LocationKind, MovementKind
from services import stock_changes
from services.placement import place_order
from services.stock_changes import Movement
from services.unit_of_work import UnitOfWork

PRICE = 5_000
"""50.00 EUR a unit."""


@dataclass(frozen=True)
class Shop:
    engine: AsyncEngine
    work: UnitOfWork
    channel_id: UUID
    location_id: UUID
    level_id: UUID

    async def order(
        self,
        method: PaymentMethod | None = PaymentMethod.CARD,
        *,
        token: str | None = None,
        quantity: int = 2,
        **intent: Any,
    ) -> UUID:
        """Place an order of `quantity` units, paid by `method`; returns its id."""
        payment = PaymentIntent(method=method, token=token, **intent) if method else None
        command = PlaceOrder(
            channel_id=self.channel_id,
            lines=(PlaceLine(sku="MUG", quantity=quantity, unit_price=PRICE),),
            payment=payment,
        )
        return await self.work.run(place_order, command, actor=SYSTEM)

    async def rows(self, table: Any, order_id: UUID) -> list[Any]:
        """The rows of one of the order's tables, the oldest first."""
        async with self.engine.connect() as session:
            statement = sa.select(table.__table__).where(table.order_id == order_id).order_by(table.id)
            return list(await session.execute(statement))

    async def payment(self, order_id: UUID) -> Any:
        """The order's newest payment."""
        return (await self.rows(Payment, order_id))[-1]

    async def transactions(self, order_id: UUID) -> list[tuple[str, str, int]]:
        return [
            (row.kind.value, row.status.value, row.amount)
            for row in await self.rows(PaymentTransaction, order_id)
        ]

    async def refunds(self, order_id: UUID) -> list[tuple[str, int]]:
        return [(row.status.value, row.amount) for row in await self.rows(Refund, order_id)]

    async def the_order(self, order_id: UUID) -> Any:
        async with self.engine.connect() as session:
            return (await session.execute(sa.select(Order.__table__).where(Order.id == order_id))).one()

    async def events(self, order_id: UUID, like: str = "%") -> list[str]:
        """Types of the order's events in order, those that match."""
        statement = sa.text(
            "select type from event where order_id = :id and type like :like order by version"
        )
        async with self.engine.connect() as session:
            return list((await session.execute(statement, {"id": order_id, "like": like})).scalars())

    async def available(self) -> int:
        async with self.engine.connect() as session:
            statement = sa.select(StockLevel.sellable - StockLevel.allocated - StockLevel.reserved)
            return int((await session.execute(statement.where(StockLevel.id == self.level_id))).scalar_one())

    async def execute(self, statement: str, **values: Any) -> None:
        async with self.engine.begin() as session:
            await session.execute(sa.text(statement), values)

    async def overdue(self, order_id: UUID, by: timedelta = timedelta(minutes=1)) -> None:
        """Let the order's payment have been due a minute ago."""
        await self.execute(
            "update orders set payment_due_at = now() - cast(:by as interval) where id = :id",
            id=order_id,
            by=by,
        )

    async def now(self) -> datetime:
        async with self.engine.connect() as session:
            now: datetime = (await session.execute(sa.select(sa.func.now()))).scalar_one()
            return now

    async def fulfill(self, order_id: UUID, units: int) -> None:
        """Pretend, on the line alone, that units have left; for what asks only how many did."""
        async with self.engine.begin() as session:
            await session.execute(
                sa.update(OrderLine)
                .where(OrderLine.order_id == order_id)
                .values(
                    quantity_fulfilled=OrderLine.quantity_fulfilled + units,
                    quantity_allocated=OrderLine.quantity_allocated - units,
                )
            )


async def open_shop(engine: AsyncEngine, *, units: int = 100) -> Shop:
    channel_id, location_id, product_id = new_id(), new_id(), new_id()
    async with engine.begin() as session:
        await session.execute(
            sa.insert(Channel).values(
                id=channel_id,
                code="SHOP",
                name="Shop",
                kind=ChannelKind.ECOMMERCE,
                currency="EUR",
                pricing_authority=PricingAuthority.PARTNER,
                collected_by=CollectedBy.MERCHANT,
                release_gate=ReleaseGate.AUTHORIZED,
            )
        )
        await session.execute(sa.text(f'create sequence "order_number_{channel_id.hex}"'))
        await session.execute(
            sa.insert(Location).values(
                id=location_id, code="MAIN", name="Main warehouse", kind=LocationKind.WAREHOUSE
            )
        )
        await session.execute(
            sa.insert(ChannelLocation).values(channel_id=channel_id, location_id=location_id)
        )
        await session.execute(
            sa.insert(Product).values(id=product_id, sku="MUG", name="Mug", backorderable=True)
        )
        levels = await stock_changes.ensure_levels(session, [(product_id, location_id)])
        level_id = levels[product_id, location_id]
        now: datetime = (await session.execute(sa.select(sa.func.now()))).scalar_one()
        if units:
            await stock_changes.apply(
                session,
                await stock_changes.lock_levels(session, [level_id]),
                movements=[
                    Movement(
                        level_id=level_id,
                        bucket=Bucket.SELLABLE,
                        quantity=units,
                        kind=MovementKind.RECEIPT,
                    )
                ],
                actor="tests",
                now=now,
            )
    return Shop(engine, UnitOfWork(engine), channel_id, location_id, level_id)
