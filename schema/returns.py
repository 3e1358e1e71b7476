"""Returns and their lines, as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from strawberry.scalars import JSON

from db import returns as tables
from domain.access import Scope
from domain.actions import RETURN_ACTIONS, Fact
from domain.returns import CustomerReturnStatus, Disposition, ReturnReason, ReturnState
from schema import enums  # noqa: F401 - registers the enumerations that fields name
from schema.actions import actions_of
from schema.plan import Connection, Money, Node, column, connection, expression, many, money, one, planned

if TYPE_CHECKING:  # named by fields; resolved when the schema is built
    from schema.channels import Channel
    from schema.customers import Customer
    from schema.events import OrderEvent
    from schema.locations import Location
    from schema.orders import Order, OrderLine
    from schema.payments import Refund
    from schema.products import Product


def _actions(found: Any) -> sa.ColumnElement[Any]:
    line = tables.ReturnLine.__table__.alias()

    def some(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
        return sa.exists().where(line.c.return_id == found.id, condition)

    received = some(line.c.quantity_received > 0)
    waiting = some(line.c.quantity_received > line.c.quantity_accepted + line.c.quantity_rejected)
    return actions_of(
        RETURN_ACTIONS,
        found.status,
        {
            Fact.NOTHING_RECEIVED: sa.not_(received),
            Fact.UNINSPECTED: waiting,
            Fact.ALL_INSPECTED: sa.and_(received, sa.not_(waiting)),
        },
    )


def _credited(found: Any) -> Any:
    line = tables.ReturnLine.__table__.alias()
    summed = sa.func.coalesce(sa.func.sum(line.c.refund_amount), 0).cast(sa.BigInteger())
    return sa.select(summed).where(line.c.return_id == found.id).scalar_subquery()


def _currency(found: Any) -> Any:
    line = tables.ReturnLine.__table__.alias()
    return sa.select(sa.func.max(line.c.currency)).where(line.c.return_id == found.id).scalar_subquery()


@planned(
    tables.Return,
    node="ret",
    scope=Scope.RETURNS_READ,
    description=(
        "Goods that come back (an RMA), with an order or without. It closes by itself once everything that was "
        "expected came, was inspected, and is paid back."
    ),
)
class Return(Node):
    status: ReturnState = column(
        tables.Return.status, "Where it stands; docs/states.md draws the transitions."
    )
    customer_status: CustomerReturnStatus = column(
        tables.Return.customer_status, "The same in the customer's words; derived."
    )
    note: str | None = column(tables.Return.note, "What was said when it was asked for.")
    decline_reason: str | None = column(tables.Return.decline_reason, "Why it was declined.")
    tracking_number: str | None = column(
        tables.Return.tracking_number, "What the carrier that brings it back calls it."
    )
    requested_at: datetime = column(tables.Return.requested_at, "When it was asked for.")
    approved_at: datetime | None = column(tables.Return.approved_at, "When it was approved.")
    expires_at: datetime | None = column(
        tables.Return.expires_at, "It expires when nothing has come by then."
    )
    closed_at: datetime | None = column(tables.Return.closed_at, "When it ended, in whatever way.")
    available_actions: list[str] = expression(
        _actions, "Mutations that its status permits now, whether or not you have the scope for them."
    )
    refund_amount: Money = money(
        _credited,
        _currency,
        "Credited for accepted units: their share of what their lines cost.",
    )
    metadata: JSON = column(tables.Return.metadata_, "Whatever its partners keep on it; not interpreted.")
    created_at: datetime = column(tables.Return.created_at, "When we came to know of it.")
    updated_at: datetime = column(tables.Return.updated_at, "When it last changed.")
    order: Order | None = one(
        "Order",
        lambda found, order: order.id == found.order_id,
        "What was bought; null for a return without an order, or when you may not see it.",
    )
    channel: Channel = one(
        "Channel",
        lambda found, channel: channel.id == found.channel_id,
        "Where the goods were bought.",
        visible_with_parent=True,
    )
    customer: Customer | None = one(
        "Customer", lambda found, customer: customer.id == found.customer_id, "Who sends it."
    )
    location: Location | None = one(
        "Location",
        lambda found, location: location.id == found.location_id,
        "Where to send it; known from its approval on.",
        visible_with_parent=True,
    )
    lines: list[ReturnLine] = many(
        "ReturnLine",
        lambda found, line: line.return_id == found.id,
        order_by=lambda line: (line.id,),
        description="What comes back.",
        size=3,
    )
    refunds: list[Refund] = many(
        "Refund",
        lambda found, refund: refund.return_id == found.id,
        order_by=lambda refund: (refund.id,),
        description="Money given back for it, or being given back.",
        visible_with_parent=False,
        scope=Scope.PAYMENTS_READ,
        size=1,
    )
    timeline: Connection[OrderEvent] = connection(
        "OrderEvent",
        lambda found, event: sa.and_(
            event.aggregate_id == sa.func.coalesce(found.order_id, found.id),
            event.product_id.is_(None),  # none has one, and the outbox's index says so
            sa.or_(event.return_id == found.id, event.aggregate_id == found.id),
        ),
        order_by=lambda event: (event.version,),
        visible_with_parent=False,
        description="Everything that happened to it, the oldest first.",
        scope=Scope.EVENTS_READ,
    )


@planned(
    tables.ReturnLine,
    node="rtl",
    scope=Scope.RETURNS_READ,
    description="Units of one order line (or, without an order, of one SKU) that come back.",
)
class ReturnLine(Node):
    reason: ReturnReason = column(tables.ReturnLine.reason, "Why.")
    note: str | None = column(tables.ReturnLine.note, "What was said about it.")
    quantity_expected: int = column(tables.ReturnLine.quantity_expected, "Units that are to come.")
    quantity_received: int = column(tables.ReturnLine.quantity_received, "Units that have come.")
    quantity_accepted: int = column(
        tables.ReturnLine.quantity_accepted, "Units that were accepted, and credited."
    )
    quantity_rejected: int = column(tables.ReturnLine.quantity_rejected, "Units that were not.")
    disposition: Disposition | None = column(
        tables.ReturnLine.disposition,
        "What became of the units judged last: RESTOCK, DAMAGED and QUARANTINE entered that stock; SCRAP and "
        "RETURN_TO_CUSTOMER entered none.",
    )
    refund_amount: Money = money(
        tables.ReturnLine.refund_amount,
        tables.ReturnLine.currency,
        "Credited for its accepted units; step by step it adds up to what the line cost.",
    )
    order_line: OrderLine | None = one(
        "OrderLine",
        lambda line, order_line: order_line.id == line.order_line_id,
        "The line of the order.",
    )
    product: Product = one(
        "Product",
        lambda line, product: product.id == line.product_id,
        "What it is.",
        visible_with_parent=True,
    )
