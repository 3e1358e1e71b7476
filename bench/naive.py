"""The usual way: Strawberry types with resolvers, SQLAlchemy's ORM, and a DataLoader for each relation.

Over our own tables, without authentication or predicates, as its documentation shows it.
Served by `uvicorn bench.naive:app`, over BENCH_DATABASE_URL.
"""

# Strawberry reads annotations at run time: no `from __future__ import annotations` here.

import os
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

import strawberry
from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from strawberry.asgi import GraphQL
from strawberry.dataloader import DataLoader
from strawberry.types import Info

from db import customers, orders, products

engine = create_async_engine(
    os.environ.get("BENCH_DATABASE_URL", "postgresql://").replace(
        "postgresql://", "postgresql+asyncpg://", 1
    ),
    pool_size=10,
    max_overflow=0,
    connect_args={"server_settings": {"jit": "off", "TimeZone": "UTC"}},
)
sessions = async_sessionmaker(engine, expire_on_commit=False)


@strawberry.type
class Money:
    amount: Decimal


def money(minor_units: int) -> Money:
    return Money(amount=Decimal(minor_units).scaleb(-2))


@strawberry.type
class Product:
    sku: str
    name: str


@strawberry.type
class Customer:
    name: str
    email: str | None


@strawberry.type
class OrderLine:
    quantity: int
    unit_price: Money
    product_id: strawberry.Private[UUID]

    @strawberry.field
    async def product(self, info: Info[Any, Any]) -> Product:
        return await info.context["products"].load(self.product_id)  # type: ignore[no-any-return] # a DataLoader


@strawberry.type
class Order:
    id: strawberry.ID
    number: str
    status: str
    current_total: Money
    placed_at: datetime
    key: strawberry.Private[UUID]
    customer_id: strawberry.Private[UUID | None]

    @classmethod
    def of(cls, row: orders.Order) -> Self:
        return cls(
            id=strawberry.ID(f"ord_{row.id}"),
            number=row.number,
            status=row.status,
            current_total=money(row.current_total),
            placed_at=row.placed_at,
            key=row.id,
            customer_id=row.customer_id,
        )

    @strawberry.field
    async def customer(self, info: Info[Any, Any]) -> Customer | None:
        if self.customer_id is None:
            return None
        return await info.context["customers"].load(self.customer_id)  # type: ignore[no-any-return] # a DataLoader

    @strawberry.field
    async def lines(self, info: Info[Any, Any]) -> list[OrderLine]:
        return await info.context["lines"].load(self.key)  # type: ignore[no-any-return] # a DataLoader


@strawberry.type
class OrderPage:
    nodes: list[Order]


@strawberry.type
class Query:
    @strawberry.field
    async def order(self, info: Info[Any, Any], id: strawberry.ID) -> Order | None:
        async with sessions() as session:
            row = await session.get(orders.Order, UUID(id.removeprefix("ord_")))
        return None if row is None else Order.of(row)

    @strawberry.field
    async def orders(self, info: Info[Any, Any], first: int = 20) -> OrderPage:
        newest = select(orders.Order).order_by(orders.Order.placed_at.desc(), orders.Order.id.desc())
        async with sessions() as session:
            rows = (await session.scalars(newest.limit(first))).all()
        return OrderPage(nodes=[Order.of(row) for row in rows])


async def load_products(keys: list[UUID]) -> Sequence[Product]:
    async with sessions() as session:
        rows = await session.scalars(select(products.Product).where(products.Product.id.in_(keys)))
        found = {row.id: Product(sku=row.sku, name=row.name) for row in rows}
    return [found[key] for key in keys]


async def load_customers(keys: list[UUID]) -> Sequence[Customer]:
    async with sessions() as session:
        rows = await session.scalars(select(customers.Customer).where(customers.Customer.id.in_(keys)))
        found = {row.id: Customer(name=row.name, email=row.email) for row in rows}
    return [found[key] for key in keys]


async def load_lines(keys: list[UUID]) -> Sequence[list[OrderLine]]:
    found: dict[UUID, list[OrderLine]] = {key: [] for key in keys}
    wanted = select(orders.OrderLine).where(orders.OrderLine.order_id.in_(keys))
    async with sessions() as session:
        for row in await session.scalars(wanted.order_by(orders.OrderLine.line_number)):
            line = OrderLine(
                quantity=row.quantity, unit_price=money(row.unit_price), product_id=row.product_id
            )
            found[row.order_id].append(line)
    return [found[key] for key in keys]


class Endpoint(GraphQL[Any, Any]):
    async def get_context(self, request: Any, response: Any) -> Any:
        return {
            "products": DataLoader(load_products),
            "customers": DataLoader(load_customers),
            "lines": DataLoader(load_lines),
        }


app = Endpoint(strawberry.Schema(Query), graphql_ide=None)
