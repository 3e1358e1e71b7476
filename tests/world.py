"""A small world to place orders in: one channel, one or two locations, a few products with stock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from db.base import new_id
from db.channels import Channel, ChannelLocation
from db.customers import Customer
from db.engine import Session
from db.locations import Location
from db.orders import Order, OrderLine
from db.products import Price, PriceList, Product
from db.stock import StockLevel
from domain.access import ALL_SCOPES, SYSTEM, Principal, PrincipalKind
from domain.order_commands import PaymentIntent, PlaceLine, PlaceOrder
from domain.orders import ChannelKind, CollectedBy, PricingAuthority, ReleaseGate
from domain.payments import PaymentMethod
from domain.stock import Bucket, LocationKind, MovementKind
from services import stock_changes
from services.placement import place_order
from services.stock_changes import Movement
from services.unit_of_work import UnitOfWork

STAFF = Principal(kind=PrincipalKind.STAFF, account="staff:test", scopes=ALL_SCOPES)

EXTERNAL = PaymentIntent(method=PaymentMethod.EXTERNAL)
"""Collected by the marketplace: the order is confirmed and released at once."""


@dataclass(slots=True)
class World:
    """Ids by name: products by SKU, locations by code."""

    engine: AsyncEngine
    channel_id: UUID
    partner: Principal
    customer_id: UUID
    locations: dict[str, UUID] = field(default_factory=dict)
    products: dict[str, UUID] = field(default_factory=dict)

    @property
    def unit_of_work(self) -> UnitOfWork:
        return UnitOfWork(self.engine)

    async def run(self, use_case: Any, command: Any, actor: Principal = STAFF) -> Any:
        """One use case in one transaction."""
        return await self.unit_of_work.run(use_case, command, actor=actor)

    async def place(self, *lines: tuple[str, int], actor: Principal | None = None, **more: Any) -> UUID:
        """Place an order of (SKU, quantity) lines at 10.00 each, paid to the marketplace unless `payment` says else."""
        command = PlaceOrder(
            channel_id=self.channel_id,
            lines=tuple(PlaceLine(sku=sku, quantity=quantity, unit_price=1000) for sku, quantity in lines),
            customer_id=more.pop("customer_id", self.customer_id),
            payment=more.pop("payment", EXTERNAL),
            **more,
        )
        order_id: UUID = await self.run(place_order, command, actor or self.partner)
        return order_id

    async def order(self, order_id: UUID) -> sa.Row[Any]:
        return await self.one(sa.select(Order.__table__).where(Order.id == order_id))

    async def lines(self, order_id: UUID) -> list[sa.Row[Any]]:
        return await self.all(
            sa.select(OrderLine.__table__)
            .where(OrderLine.order_id == order_id)
            .order_by(OrderLine.line_number)
        )

    async def level(self, sku: str, location: str = "main") -> sa.Row[Any]:
        return await self.one(
            sa.select(StockLevel.__table__).where(
                StockLevel.product_id == self.products[sku],
                StockLevel.location_id == self.locations[location],
            )
        )

    async def event_types(self, order_id: UUID) -> list[str]:
        """The order's timeline, as types."""
        async with self.engine.connect() as session:
            rows = await session.execute(
                sa.text("select type from event where order_id = :id order by version"), {"id": order_id}
            )
            return list(rows.scalars())

    async def one(self, statement: sa.Select[Any]) -> sa.Row[Any]:
        async with self.engine.connect() as session:
            return (await session.execute(statement)).one()

    async def all(self, statement: sa.Select[Any]) -> list[sa.Row[Any]]:
        async with self.engine.connect() as session:
            return list((await session.execute(statement)).all())


async def make_world(
    engine: AsyncEngine,
    stock: Mapping[str, int | Mapping[str, int]],
    *,
    backorderable: frozenset[str] = frozenset(),
    authority: PricingAuthority = PricingAuthority.PARTNER,
    gate: ReleaseGate = ReleaseGate.MARKETPLACE,
    currency: str = "EUR",
    locations: tuple[str, ...] = ("main",),
    prices: str = "list",
) -> World:
    """`stock` gives units by SKU: at "main", or by location code. Every product lists at 10.00.

    A second world in one database needs names of its own for locations and price list.
    """
    async with engine.begin() as session:
        now: datetime = (await session.execute(sa.select(sa.func.now()))).scalar_one()
        channel_id, customer_id = new_id(), new_id()
        await _channel(session, channel_id, authority=authority, gate=gate, currency=currency)
        await session.execute(
            sa.insert(Customer).values(id=customer_id, name="Ada Lovelace", email="ada@example.com")
        )
        world = World(
            engine=engine,
            channel_id=channel_id,
            partner=Principal(
                kind=PrincipalKind.PARTNER,
                account="partner:test",
                scopes=ALL_SCOPES,
                channels=(channel_id,),
            ),
            customer_id=customer_id,
        )
        for rank, code in enumerate(locations):
            world.locations[code] = await _location(session, channel_id, code, rank)
        # A partner sees the customers that it has named.
        await session.execute(
            sa.text(
                "insert into external_id (id, entity_kind, entity_id, system, channel_id, external_id) "
                "values (:id, 'CUSTOMER', :customer, 'shop', :channel, 'ada')"
            ),
            {"id": new_id(), "customer": customer_id, "channel": channel_id},
        )
        price_list_id = new_id()
        await session.execute(
            sa.insert(PriceList).values(id=price_list_id, code=prices, name="List", currency=currency)
        )
        for sku, units in stock.items():
            world.products[sku] = await _product(session, price_list_id, sku, sku in backorderable)
            by_location = units if isinstance(units, Mapping) else {locations[0]: units}
            for code, quantity in by_location.items():
                await _stock(session, world.products[sku], world.locations[code], quantity, now)
    return world


async def _channel(
    session: Session, channel_id: UUID, *, authority: PricingAuthority, gate: ReleaseGate, currency: str
) -> None:
    await session.execute(
        sa.insert(Channel).values(
            id=channel_id,
            code=f"channel-{channel_id.hex[-6:]}",
            name="Test channel",
            kind=ChannelKind.MARKETPLACE,
            currency=currency,
            pricing_authority=authority,
            collected_by=CollectedBy.MERCHANT,
            release_gate=gate,
        )
    )
    await session.execute(sa.text(f"create sequence order_number_{channel_id.hex}"))


async def _location(session: Session, channel_id: UUID, code: str, rank: int) -> UUID:
    location_id = new_id()
    await session.execute(
        sa.insert(Location).values(id=location_id, code=code, name=code, kind=LocationKind.WAREHOUSE)
    )
    await session.execute(
        sa.insert(ChannelLocation).values(channel_id=channel_id, location_id=location_id, rank=rank)
    )
    return location_id


async def _product(session: Session, price_list_id: UUID, sku: str, backorderable: bool) -> UUID:
    product_id = new_id()
    await session.execute(
        sa.insert(Product).values(id=product_id, sku=sku, name=f"Product {sku}", backorderable=backorderable)
    )
    await session.execute(
        sa.insert(Price).values(id=new_id(), price_list_id=price_list_id, product_id=product_id, amount=1000)
    )
    return product_id


async def _stock(session: Session, product_id: UUID, location_id: UUID, quantity: int, now: datetime) -> None:
    levels = await stock_changes.ensure_levels(session, [(product_id, location_id)])
    locked = await stock_changes.lock_levels(session, levels.values())
    if quantity:
        await stock_changes.apply(
            session,
            locked,
            movements=[
                Movement(
                    level_id=level_id,
                    bucket=Bucket.SELLABLE,
                    quantity=quantity,
                    kind=MovementKind.OPENING_BALANCE,
                )
                for level_id in locked
            ],
            actor=SYSTEM.account,
            now=now,
        )
