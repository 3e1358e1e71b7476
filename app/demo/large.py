"""The large set: a year of a shop's orders with their histories, made by SQL inside the database."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from app.demo.shop import Shop, open_places
from db.engine import Session
from domain.access import SYSTEM
from domain.events import EventType
from domain.prices import UpsertPriceList
from services import relay
from services.prices import upsert_price_list

DAYS = 365


@dataclass(frozen=True, slots=True)
class Size:
    """How much is made; each order has three lines."""

    orders: int = 200_000
    products: int = 3_000
    customers: int = 20_000


LARGE = Size()

Step = tuple[EventType, str, str | None, str | None, str]
"""An event, its subject's kind, the statuses it leaves and reaches, and the moment it happens at."""

_PLACED: Step = (EventType.ORDER_PLACED, "ORDER", None, "PENDING", "placed")
_REQUESTED: Step = (EventType.PAYMENT_REQUESTED, "PAYMENT", None, "PENDING", "placed")
_PAID: dict[str, tuple[Step, ...]] = {
    "CARD": ((EventType.PAYMENT_AUTHORIZED, "PAYMENT", "PENDING", "AUTHORIZED", "placed"),),
    "EXTERNAL": ((EventType.PAYMENT_CAPTURED, "PAYMENT", "PENDING", "CAPTURED", "placed"),),
}
_CAPTURED: dict[str, tuple[Step, ...]] = {
    "CARD": ((EventType.PAYMENT_CAPTURED, "PAYMENT", "AUTHORIZED", "CAPTURED", "shipped"),),
    "EXTERNAL": (),
}
_CONFIRMED: tuple[Step, ...] = (
    (EventType.ORDER_CONFIRMED, "ORDER", "PENDING", "CONFIRMED", "placed"),
    (EventType.FULFILLMENT_ORDER_OPENED, "FULFILLMENT_ORDER", None, "OPEN", "placed"),
)
_WORKED: tuple[Step, ...] = (
    (EventType.FULFILLMENT_ORDER_ACCEPTED, "FULFILLMENT_ORDER", "OPEN", "IN_PROGRESS", "worked"),
    (EventType.ORDER_PROCESSING_STARTED, "ORDER", "CONFIRMED", "PROCESSING", "worked"),
    (EventType.SHIPMENT_PICKING_STARTED, "SHIPMENT", None, "PICKING", "worked"),
)
_SHIPPED: tuple[Step, ...] = (
    (EventType.SHIPMENT_SHIPPED, "SHIPMENT", "PICKING", "SHIPPED", "shipped"),
    (EventType.FULFILLMENT_ORDER_CLOSED, "FULFILLMENT_ORDER", "IN_PROGRESS", "CLOSED", "shipped"),
)
_DELIVERED: tuple[Step, ...] = (
    (EventType.DELIVERY_UPDATED, "SHIPMENT", None, None, "delivered"),
    (EventType.ORDER_COMPLETED, "ORDER", "PROCESSING", "COMPLETED", "delivered"),
)


def _lives() -> Iterator[tuple[str, str, tuple[Step, ...]]]:
    """Every outcome by how it was paid, with what happened on the way there."""
    for method, paid in _PAID.items():
        confirmed = (_PLACED, _REQUESTED, *paid, *_CONFIRMED)
        shipped = (*confirmed, *_WORKED, *_SHIPPED, *_CAPTURED[method])
        yield "OPEN", method, confirmed
        yield "PICKING", method, (*confirmed, *_WORKED)
        yield "ON_ITS_WAY", method, shipped
        yield "DELIVERED", method, (*shipped, *_DELIVERED)
    yield (
        "CANCELLED",
        "CARD",
        (
            _PLACED,
            _REQUESTED,
            *_PAID["CARD"],
            *_CONFIRMED,
            (EventType.FULFILLMENT_ORDER_CANCELLED, "FULFILLMENT_ORDER", "OPEN", "CANCELLED", "worked"),
            (EventType.ORDER_CANCELLED, "ORDER", "CONFIRMED", "CANCELLED", "worked"),
            (EventType.PAYMENT_VOIDED, "PAYMENT", "AUTHORIZED", "VOIDED", "worked"),
        ),
    )
    yield "WAITING", "TRANSFER", (_PLACED, _REQUESTED)
    yield (
        "EXPIRED",
        "TRANSFER",
        (
            _PLACED,
            _REQUESTED,
            (EventType.ORDER_EXPIRED, "ORDER", "PENDING", "EXPIRED", "worked"),
            (EventType.PAYMENT_EXPIRED, "PAYMENT", "PENDING", "EXPIRED", "worked"),
        ),
    )


TABLES = (
    "orders",
    "order_line",
    "order_adjustment",
    "external_id",
    "payment",
    "payment_transaction",
    "fulfillment_order",
    "fulfillment_order_line",
    "shipment",
    "shipment_line",
    "package",
    "carrier_event",
    "event_log",
)
"""The tables that get most rows; their indexes are built afterwards, which is several times faster."""


async def load(
    session: Session,
    progress: Callable[[str, int, int], None],
    size: Size = LARGE,
    *,
    check_references: bool = False,
) -> None:
    """Load the set into an empty database.

    Foreign keys are looked up row by row only with `check_references`, or where the
    database's user may not do without: half of the time would go into that, and the
    rows are made from each other.
    """
    now: datetime = (await session.execute(sa.select(sa.func.now()))).scalar_one()
    began = now - timedelta(days=DAYS)
    steps = _statements()
    total = len(steps) + 1
    progress("demo data", 0, total)
    await _open(session, began)
    await _prepare(session, size, began, now)
    if (
        not check_references
        and await session.scalar(sa.text("select current_setting('is_superuser')")) == "on"
    ):
        await session.execute(sa.text("set local session_replication_role = replica"))
    indexes = await _drop_indexes(session)
    for done, (name, text) in enumerate(steps, start=1):
        if name == "statistics":
            for definition in indexes:
                await session.execute(sa.text(definition))
            progress("demo data", done, total)
        await _run(session, text)
        progress("demo data", done + (name == "statistics"), total)


async def _drop_indexes(session: Session) -> list[str]:
    """Drop the indexes that no constraint needs; returns the statements that make them again."""
    rows = await session.execute(
        sa.text(
            "select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as definition "
            "from pg_index where indrelid = any(cast(:tables as regclass[])) "
            "and not exists (select from pg_constraint where conindid = indexrelid) "
            # A list in a condition comes back from its definition in other words, and is short.
            "and pg_get_indexdef(indexrelid) not like '% ANY %'"
        ),
        {"tables": list(TABLES)},
    )
    found = rows.all()
    for row in found:
        await session.execute(sa.text(f"drop index {row.name}"))
    return [row.definition.replace(":", r"\:") for row in found]


async def _open(session: Session, began: datetime) -> None:
    """Channels, locations and a price list, through the services; their events go into the log first."""
    await open_places(session, Shop(), actor=SYSTEM, now=began)
    await upsert_price_list(
        session, UpsertPriceList(code="EUR", name="List prices", currency="EUR"), actor=SYSTEM, now=began
    )
    while await relay.move(session):
        pass


async def _prepare(session: Session, size: Size, began: datetime, now: datetime) -> None:
    # Sorts and hash tables of millions of rows; for this transaction only.
    for setting, value in (("work_mem", "256MB"), ("maintenance_work_mem", "256MB")):
        await session.execute(sa.text(f"set local {setting} = '{value}'"))
    await session.execute(
        sa.text(
            "create temporary table demo_size on commit drop as select cast(:orders as int) as orders, "
            "cast(:products as int) as products, cast(:customers as int) as customers, "
            "cast(:began as timestamptz) as began, cast(:now as timestamptz) as now"
        ),
        {
            "orders": size.orders,
            "products": size.products,
            "customers": size.customers,
            "began": began,
            "now": now,
        },
    )
    await session.execute(
        sa.text(
            "create temporary table demo_step (outcome text, method text, seq int, type text, subject text, "
            "from_status text, to_status text, moment text) on commit drop"
        )
    )
    rows: list[dict[str, Any]] = [
        {
            "outcome": outcome,
            "method": method,
            "seq": seq,
            "type": str(type_),
            "subject": subject,
            "from": before,
            "to": after,
            "moment": moment,
        }
        for outcome, method, life in _lives()
        for seq, (type_, subject, before, after, moment) in enumerate(life, start=1)
    ]
    await session.execute(
        sa.text(
            "insert into demo_step values (:outcome, :method, :seq, :type, :subject, :from, :to, :moment)"
        ),
        rows,
    )


def _statements() -> list[tuple[str, str]]:
    """The steps of `large.sql`, by name."""
    text = (Path(__file__).parent / "large.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- step: (.+)$", text, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


async def _run(session: Session, statements: str) -> None:
    """Several statements in one go, as the simple protocol takes them."""
    connection = await session.driver()
    await connection.execute(statements)
