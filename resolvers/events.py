"""Following what happens: subscriptions to the log, and the same log for those who poll."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
import strawberry

from db import cursors
from db.events import EventLog
from domain.access import Scope
from domain.errors import InvalidInput, Refused
from domain.events import AggregateKind, EventType
from domain.ids import Prefix, parse_id
from schema.events import FollowMode, OrderEvent, OrderEventFilter, StockChange
from schema.orders import Order
from schema.plan import Info, query_expression, query_many, subscription
from schema.return_events import ReturnEvent, ReturnEventFilter
from schema.shipment_events import ShipmentEvent, ShipmentEventFilter
from services.feed import Selection, Source

PAGE, MAX_PAGE = 20, 100


class EventQueries:
    events: list[OrderEvent] = query_many(
        OrderEvent,
        scope=Scope.EVENTS_READ,
        arguments={"after": str | None, "first": int | None, "types": list[EventType] | None},
        source=lambda given: sa.select(EventLog.__table__).where(
            EventLog.position > (sa.literal(0) if given.after is None else cursors.position_of(given.after))
        ),
        where=lambda event, given: sa.true() if given.types is None else event.type == sa.any_(given.types),
        order_by=lambda event: (event.position,),
        limit=lambda given: (
            PAGE if given.first is None else sa.func.greatest(0, sa.func.least(given.first, MAX_PAGE))
        ),
        size=PAGE,
        description=(
            "The log of what happened, for partners that ask now and then: the oldest `first` events (20, at "
            "most 100) after the cursor `after`, or from the oldest that is kept. The last one's `cursor` is the "
            "next `after`; an empty list means that you have seen everything. Error CURSOR_EXPIRED as in "
            "`orderEvents`."
        ),
    )
    event_head: str = query_expression(
        cursors.head,
        scope=Scope.EVENTS_READ,
        description=(
            "The cursor of the newest event. Ask for it in the same query as the state you show, then follow "
            "with `after` from there: nothing is missed in between."
        ),
    )


AFTER = (
    "With `after`, a cursor of an event or `eventHead`, it goes on from there without a gap; without it, from the "
    "moment it is accepted: whatever is committed later comes, what was committed a moment earlier may come too, "
    "each once and in order. Error CURSOR_EXPIRED: the log no longer reaches back to the cursor"
)


@subscription(
    OrderEvent,
    scope=Scope.EVENTS_READ,
    description=(
        "What happens to orders: to one, or to all that you may see and the filter lets through. "
        f"{AFTER}; for one order `extensions.snapshot` is then its newest event as selected, and "
        "`extensions.head` the cursor to go on from."
    ),
)
def order_events(
    info: Info,
    order_id: strawberry.ID | None = None,
    filter: OrderEventFilter | None = None,
    after: str | None = None,
    mode: FollowMode = FollowMode.ALL,
) -> Source:
    chosen = filter or OrderEventFilter()
    statuses = chosen.statuses
    selection = Selection(
        orders=_one(order_id, Prefix.ORDER, "orderId"),
        channels=_ids(chosen.channels, Prefix.CHANNEL, "channels"),
        customers=_ids(chosen.customers, Prefix.CUSTOMER, "customers"),
        types=None if chosen.types is None else frozenset(chosen.types),
        statuses=None if statuses is None else frozenset(statuses),
        subjects=None if statuses is None else frozenset({"ORDER"}),
        aggregates=frozenset({AggregateKind.ORDER, AggregateKind.RETURN}),
    )
    return Source(selection=selection, after=after, latest_by=_latest_by(mode, "order_id", "return_id"))


@subscription(
    ShipmentEvent,
    scope=Scope.EVENTS_READ,
    description=(
        "What happens to shipments and to their parcels: to one, to those of one order, or to all that you may see "
        f"and the filter lets through. {AFTER}; for one shipment or order `extensions.snapshot` is then its newest "
        "event as selected, and `extensions.head` the cursor to go on from."
    ),
)
def shipment_events(
    info: Info,
    shipment_id: strawberry.ID | None = None,
    order_id: strawberry.ID | None = None,
    filter: ShipmentEventFilter | None = None,
    after: str | None = None,
    mode: FollowMode = FollowMode.ALL,
) -> Source:
    chosen = filter or ShipmentEventFilter()
    selection = Selection(
        shipments=_one(shipment_id, Prefix.SHIPMENT, "shipmentId"),
        orders=_one(order_id, Prefix.ORDER, "orderId"),
        channels=_ids(chosen.channels, Prefix.CHANNEL, "channels"),
        customers=_ids(chosen.customers, Prefix.CUSTOMER, "customers"),
        locations=_ids(chosen.locations, Prefix.LOCATION, "locations"),
        types=None if chosen.types is None else frozenset(chosen.types),
        subjects=frozenset({"SHIPMENT", "PACKAGE"}),
    )
    return Source(selection=selection, after=after, latest_by=_latest_by(mode, "subject_id"))


@subscription(
    ReturnEvent,
    scope=Scope.EVENTS_READ,
    description=(
        "What happens to returns: to one, to those of one order, or to all that you may see and the filter lets "
        f"through. {AFTER}; for one return `extensions.snapshot` is then its newest event as selected, and "
        "`extensions.head` the cursor to go on from."
    ),
)
def return_events(
    info: Info,
    return_id: strawberry.ID | None = None,
    order_id: strawberry.ID | None = None,
    filter: ReturnEventFilter | None = None,
    after: str | None = None,
    mode: FollowMode = FollowMode.ALL,
) -> Source:
    chosen = filter or ReturnEventFilter()
    selection = Selection(
        returns=_one(return_id, Prefix.RETURN, "returnId"),
        orders=_one(order_id, Prefix.ORDER, "orderId"),
        channels=_ids(chosen.channels, Prefix.CHANNEL, "channels"),
        customers=_ids(chosen.customers, Prefix.CUSTOMER, "customers"),
        locations=_ids(chosen.locations, Prefix.LOCATION, "locations"),
        types=None if chosen.types is None else frozenset(chosen.types),
        subjects=frozenset({"RETURN"}),
    )
    return Source(selection=selection, after=after, latest_by=_latest_by(mode, "return_id"))


@subscription(
    Order,
    scope=Scope.ORDERS_READ,
    description=(
        "One order as it is now, and again whenever it has changed. Changes that come fast are shown "
        "together: the last one always comes. Error NOT_FOUND: there is no such order that you may see."
    ),
)
def order_status(info: Info, order_id: strawberry.ID) -> Source:
    return Source(selection=Selection(orders=_one(order_id, Prefix.ORDER, "orderId")), snapshots="order_id")


@subscription(
    StockChange,
    scope=Scope.STOCK_READ,
    description=(
        "Changes of stock, of these SKUs and at these locations, or of all that you may see. `after` goes on "
        "from a cursor. Error NOT_FOUND: there is no product with one of the SKUs."
    ),
)
def stock_changes(
    info: Info,
    skus: list[str] | None = None,
    locations: list[strawberry.ID] | None = None,
    after: str | None = None,
) -> Source:
    if skus is not None and len(skus) > MAX_VALUES:
        raise Refused(InvalidInput(message=f"At most {MAX_VALUES} SKUs.", field=("skus",)))
    selection = Selection(
        locations=_ids(locations, Prefix.LOCATION, "locations"),
        aggregates=frozenset({AggregateKind.STOCK_LEVEL}),
    )
    return Source(selection=selection, after=after, skus=skus)


MAX_VALUES = 1_000
"""Of one criterion: each takes a place in the memory of every server that the subscription lives on."""


def _latest_by(mode: FollowMode, *columns: str) -> tuple[str, ...]:
    return columns if mode is FollowMode.LATEST else ()


def _one(value: strawberry.ID | None, prefix: Prefix, field: str) -> frozenset[UUID] | None:
    return None if value is None else frozenset({parse_id(value, prefix, field=(field,))})


def _ids(values: list[strawberry.ID] | None, prefix: Prefix, field: str) -> frozenset[UUID] | None:
    if values is None:
        return None
    if len(values) > MAX_VALUES:
        raise Refused(InvalidInput(message=f"At most {MAX_VALUES} {field}.", field=(field,)))
    return frozenset(parse_id(value, prefix, field=(field,)) for value in values)
