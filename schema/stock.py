"""Stock levels, their ledger, claims on them, reservations and availability."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from db import stock as tables
from db.channels import Channel as ChannelRow
from db.channels import ChannelLocation
from db.locations import Location as LocationRow
from db.products import Product as ProductRow
from domain.access import Scope
from domain.reservations import ReservationOwner, ReservationStatus
from domain.stock import Bucket, MovementKind, StockOwner
from schema import enums  # noqa: F401 - registers the enumerations that fields name
from schema.plan import BigInt, Connection, Node, column, connection, expression, many, one, planned

if TYPE_CHECKING:  # named by fields; resolved when the schema is built
    from schema.channels import Channel
    from schema.locations import Location
    from schema.orders import Order
    from schema.products import Product


def _available(level: object) -> sa.ColumnElement[int]:
    return sa.func.greatest(
        0,
        level.sellable - level.allocated - level.reserved - level.backordered - level.safety_stock,  # type: ignore[attr-defined]
    )


@planned(
    tables.StockLevel,
    node="stk",
    scope=Scope.STOCK_READ,
    description=(
        "One SKU at one location of one owner. Sellable, damaged, quarantine and display units are there; "
        "allocated, reserved and backordered ones are promised. Sellable is never below allocated and reserved."
    ),
)
class StockLevel(Node):
    product: Product = one(
        "Product",
        lambda level, product: product.id == level.product_id,
        "What lies there.",
        visible_with_parent=True,
    )
    location: Location = one(
        "Location",
        lambda level, location: location.id == level.location_id,
        "Where it lies.",
        visible_with_parent=True,
    )
    owner: StockOwner = column(tables.StockLevel.owner, "Whose it is.")
    sellable: int = column(tables.StockLevel.sellable, "Units that may be sold, promised ones included.")
    damaged: int = column(tables.StockLevel.damaged, "Damaged units.")
    quarantine: int = column(tables.StockLevel.quarantine, "Units that wait for a verdict.")
    display: int = column(tables.StockLevel.display, "Units on show.")
    allocated: int = column(tables.StockLevel.allocated, "Units committed to order lines.")
    reserved: int = column(tables.StockLevel.reserved, "Units held by checkouts and quotes.")
    backordered: int = column(tables.StockLevel.backordered, "Units owed from stock yet to arrive.")
    safety_stock: int = column(tables.StockLevel.safety_stock, "Units that are never promised.")
    available: int = expression(_available, "Units that may still be promised.")
    version: BigInt = column(tables.StockLevel.version, "How often it has changed.")
    updated_at: datetime = column(tables.StockLevel.updated_at, "When it last changed.")
    movements: Connection[StockMovement] = connection(
        "StockMovement",
        lambda level, movement: movement.stock_level_id == level.id,
        order_by=lambda movement: (),
        descending=True,
        description="Its ledger, the newest first.",
    )


@planned(
    tables.StockMovement,
    node="mov",
    scope=Scope.STOCK_READ,
    description="A row of the ledger: units that entered (or, negative, left) a bucket. Never changed.",
)
class StockMovement(Node):
    bucket: Bucket = column(tables.StockMovement.bucket, "Which units.")
    quantity: int = column(tables.StockMovement.quantity, "Units; negative when they left.")
    kind: MovementKind = column(tables.StockMovement.kind, "Why.")
    reference: str | None = column(tables.StockMovement.reference, "The document behind it.")
    note: str | None = column(tables.StockMovement.note, "What was said about it.")
    actor: str = column(tables.StockMovement.actor, "Who recorded it.", scope=Scope.ACTORS_READ)
    occurred_at: datetime = column(tables.StockMovement.occurred_at, "When the units moved.")
    created_at: datetime = column(tables.StockMovement.created_at, "When it was recorded.")
    order: Order | None = one(
        "Order", lambda movement, order: order.id == movement.order_id, "The order behind it."
    )


@planned(
    tables.Allocation,
    node="all",
    scope=Scope.STOCK_READ,
    description="Units of one stock level committed to one order line until they leave or are cancelled.",
)
class Allocation(Node):
    quantity: int = column(tables.Allocation.quantity, "Units.")
    location: Location = one(
        "Location",
        lambda allocation, location: location.id == allocation.location_id,
        "Where they lie.",
        visible_with_parent=True,
    )
    created_at: datetime = column(tables.Allocation.created_at, "Since when.")


@planned(
    tables.Reservation,
    node="res",
    scope=Scope.STOCK_READ,
    description="Stock held for a checkout or a quote until it orders, gives up or runs out of time.",
)
class Reservation(Node):
    owner: ReservationOwner = column(tables.Reservation.owner, "What it is held for.")
    status: ReservationStatus = column(tables.Reservation.status, "Whether it still holds.")
    reference: str | None = column(tables.Reservation.reference, "What its owner calls it.")
    expires_at: datetime = column(tables.Reservation.expires_at, "When it gives its stock back.")
    created_at: datetime = column(tables.Reservation.created_at, "Since when.")
    channel: Channel = one(
        "Channel",
        lambda reservation, channel: channel.id == reservation.channel_id,
        "Where it was made.",
        visible_with_parent=True,
    )
    order: Order | None = one(
        "Order",
        lambda reservation, order: order.id == reservation.order_id,
        "The order that took it over.",
    )
    lines: list[ReservationLine] = many(
        "ReservationLine",
        lambda reservation, line: line.reservation_id == reservation.id,
        order_by=lambda line: (line.id,),
        description="What it holds, by SKU and location.",
        size=3,
    )


@planned(
    tables.ReservationLine,
    node="rsl",
    scope=Scope.STOCK_READ,
    description="Units of one stock level that a reservation holds.",
)
class ReservationLine(Node):
    quantity: int = column(tables.ReservationLine.quantity, "Units.")
    product: Product = one(
        "Product",
        lambda line, product: product.id == line.product_id,
        "What is held.",
        visible_with_parent=True,
    )


def _availability() -> sa.Subquery:
    """By product and channel: what its locations can promise, less the buffer the channel keeps back."""
    level, served = tables.StockLevel.__table__, ChannelLocation.__table__
    channel, product, location = ChannelRow.__table__, ProductRow.__table__, LocationRow.__table__
    units = (
        sa.select(sa.func.coalesce(sa.func.sum(_available(level.c)), 0))
        .select_from(level.join(served, served.c.location_id == level.c.location_id))
        .join(location, sa.and_(location.c.id == level.c.location_id, location.c.active))
        .where(served.c.channel_id == channel.c.id, level.c.product_id == product.c.id)
        .correlate(channel, product)
        .scalar_subquery()
    )
    return sa.select(
        product.c.id.label("id"),
        product.c.sku.label("sku"),
        product.c.backorderable.label("backorderable"),
        channel.c.id.label("channel_id"),
        sa.func.greatest(0, units - channel.c.stock_buffer).label("available"),
    ).subquery("availability")


AVAILABILITY = _availability()


@planned(
    AVAILABILITY,
    key="id",
    description="How many units of a SKU a channel may promise now.",
)
class Availability:
    sku: str = column(AVAILABILITY.c.sku, "The SKU.")
    available: int = expression(
        lambda row: sa.cast(row.available, sa.Integer()),
        "Units that an order of the channel would be promised now.",
    )
    backorderable: bool = column(
        AVAILABILITY.c.backorderable, "Whether more may be ordered, to be sent when stock arrives."
    )
