"""Events: what happened, as timelines, polls and subscriptions show it."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING

import strawberry
from strawberry.scalars import JSON

from db import cursors
from db import events as tables
from db.events import EventLog
from domain.access import Scope
from domain.events import EventType
from domain.orders import OrderStatus, Origin
from schema import enums  # noqa: F401 - registers the enumerations that fields name
from schema.plan import BigInt, Node, column, expression, one, one_of, planned

if TYPE_CHECKING:
    from schema.locations import Location
    from schema.orders import Order
    from schema.products import Product
    from schema.stock import StockLevel

SUBJECTS = {
    "ORDER": "Order",
    "PAYMENT": "Payment",
    "REFUND": "Refund",
    "FULFILLMENT_ORDER": "FulfillmentOrder",
    "SHIPMENT": "Shipment",
    "PACKAGE": "Package",
    "RETURN": "Return",
    "DISCREPANCY": "Discrepancy",
    "STOCK_LEVEL": "StockLevel",
    "RESERVATION": "Reservation",
    "PRODUCT": "Product",
    "CUSTOMER": "Customer",
    "COMPANY": "Company",
    "CHANNEL": "Channel",
    "LOCATION": "Location",
}
"""The type of an event's subject, by its kind."""


@planned(
    tables.event,
    key="event_id",
    stream_key="position",
    scope=Scope.EVENTS_READ,
    description=(
        "One thing that happened, as it was at that moment. What it happened to is shown as it is now, which "
        "may be later: compare `version`."
    ),
)
class OrderEvent:
    cursor: str | None = expression(
        lambda event: cursors.cursor_of(event.position),
        "Its place in the log: follow or read on from here with `after`. Null for the few milliseconds until "
        "an event has its place.",
    )
    type: EventType = column(tables.event.c.type, "What happened, in the past tense.")
    version: BigInt = column(
        tables.event.c.version, "Its number within the order (or stock level, …): 1, 2, 3, without gaps."
    )
    occurred_at: datetime = column(
        tables.event.c.occurred_at, "When it happened; where a partner reported it, when the partner says so."
    )
    from_status: str | None = column(
        tables.event.c.from_status, "The status its subject left, for a change of status."
    )
    to_status: str | None = column(
        tables.event.c.to_status, "The status its subject arrived at, for a change of status."
    )
    details: JSON = column(
        tables.event.c.details,
        "Quantities in units and money in minor units, by names that depend on `type`; never personal data.",
    )
    origin: Origin = column(tables.event.c.origin, "Whether it happened here or was imported as history.")
    actor: str = column(tables.event.c.actor, "The account that caused it.", scope=Scope.ACTORS_READ)
    subject_kind: str = column(tables.event.c.subject_kind, "What it happened to: ORDER, SHIPMENT, …")
    subject: Node | None = one_of(
        tables.event.c.subject_kind,
        SUBJECTS,
        tables.event.c.subject_id,
        "What it happened to, as it is now; null when you may not see it.",
    )
    order: Order | None = one(
        "Order", lambda event, order: order.id == event.order_id, "The order it belongs to, as it is now."
    )


@planned(
    EventLog,
    key="position",
    scope=Scope.STOCK_READ,
    description="A change of the stock of one product at one location.",
)
class StockChange:
    cursor: str = expression(
        lambda event: cursors.cursor_of(event.position), "Its place in the log: follow on from here."
    )
    type: EventType = column(EventLog.type, "STOCK_CHANGED, or a shortage that was recorded.")
    version: BigInt = column(EventLog.version, "Its number within the stock level: 1, 2, 3, without gaps.")
    occurred_at: datetime = column(EventLog.occurred_at, "When it happened.")
    details: JSON = column(
        EventLog.details,
        "What changed, and what it came to, in units: `sellable`, `allocated`, `available`.",
    )
    product: Product | None = one(
        "Product", lambda event, product: product.id == event.product_id, "Whose stock."
    )
    location: Location | None = one(
        "Location", lambda event, location: location.id == event.location_id, "Where."
    )
    stock_level: StockLevel | None = one(
        "StockLevel",
        lambda event, level: level.id == event.subject_id,
        "The level as it is now, which may be after later changes.",
    )


@strawberry.enum(description="How much of what waits for a reader is shown to it.")
class FollowMode(Enum):
    ALL = strawberry.enum_value("ALL", description="Every event.")
    LATEST = strawberry.enum_value(
        "LATEST",
        description="Of events of the same order (shipment or parcel, return) that wait together, the newest alone: "
        "for screens that show where things stand, and for catching up fast. The last one always comes.",
    )


@strawberry.input(description="Which events to follow; each list that is given must hold the event's value.")
class OrderEventFilter:
    channels: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Orders from these channels (`chn_…`)."
    )
    customers: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Orders of these customers (`cus_…`)."
    )
    statuses: list[OrderStatus] | None = strawberry.field(
        default=None, description="Only arrivals of an order at one of these statuses."
    )
    types: list[EventType] | None = strawberry.field(default=None, description="Only events of these types.")
