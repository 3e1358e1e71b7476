"""Fulfillment orders and their lines, as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from db import fulfillment as tables
from domain.access import Scope
from domain.actions import FULFILLMENT_ORDER_ACTIONS, Fact
from domain.fulfillment import FulfillmentOrderStatus, RequestStatus
from schema import enums  # noqa: F401 - registers the enumerations that fields name
from schema.actions import actions_of
from schema.plan import Node, column, expression, many, one, planned

if TYPE_CHECKING:  # named by fields; resolved when the schema is built
    from schema.locations import Location
    from schema.orders import Order, OrderLine
    from schema.products import Product
    from schema.shipments import Shipment


def _actions(fulfillment_order: Any) -> sa.ColumnElement[Any]:
    asked = fulfillment_order.request_status == RequestStatus.CANCELLATION_REQUESTED
    return actions_of(
        FULFILLMENT_ORDER_ACTIONS, fulfillment_order.status, {Fact.CANCELLATION_REQUESTED: asked}
    )


@planned(
    tables.FulfillmentOrder,
    node="ful",
    scope=Scope.SHIPMENTS_READ,
    description=(
        "What one location is asked to send of an order. It accepts or rejects, ships in one or several shipments, "
        "and says what it cannot find; `requestStatus` is the conversation with it."
    ),
)
class FulfillmentOrder(Node):
    status: FulfillmentOrderStatus = column(
        tables.FulfillmentOrder.status, "Where it stands; docs/states.md draws the transitions."
    )
    request_status: RequestStatus = column(
        tables.FulfillmentOrder.request_status, "What the location was asked, and what it answered."
    )
    reject_reason: str | None = column(
        tables.FulfillmentOrder.reject_reason, "Why the location would not send it."
    )
    note: str | None = column(
        tables.FulfillmentOrder.note,
        "What was said of it last, in words: why it is held, goes on, or cannot be sent whole.",
        scope=Scope.SHIPMENTS_WRITE,
    )
    fulfill_at: datetime | None = column(
        tables.FulfillmentOrder.fulfill_at, "When it is to be sent; null: as soon as it can be."
    )
    available_actions: list[str] = expression(
        _actions, "Mutations that its status permits now, whether or not you have the scope for them."
    )
    created_at: datetime = column(tables.FulfillmentOrder.created_at, "When the location was asked.")
    updated_at: datetime = column(tables.FulfillmentOrder.updated_at, "When it last changed.")
    order: Order = one(
        "Order",
        lambda fulfillment_order, order: order.id == fulfillment_order.order_id,
        "The order it is a part of.",
        visible_with_parent=True,
    )
    location: Location = one(
        "Location",
        lambda fulfillment_order, location: location.id == fulfillment_order.location_id,
        "Who is to send it.",
        visible_with_parent=True,
    )
    replaces: FulfillmentOrder | None = one(
        "FulfillmentOrder",
        lambda fulfillment_order, old: old.id == fulfillment_order.replaces_id,
        "The one whose rejection or short pick made this one necessary; null when it is another location's.",
    )
    lines: list[FulfillmentOrderLine] = many(
        "FulfillmentOrderLine",
        lambda fulfillment_order, line: line.fulfillment_order_id == fulfillment_order.id,
        order_by=lambda line: (line.id,),
        description="What is to be sent.",
        size=5,
    )
    shipments: list[Shipment] = many(
        "Shipment",
        lambda fulfillment_order, shipment: shipment.fulfillment_order_id == fulfillment_order.id,
        order_by=lambda shipment: (shipment.id,),
        description="What was made ready of it, or has left.",
        size=2,
    )


@planned(
    tables.FulfillmentOrderLine,
    node="fol",
    scope=Scope.SHIPMENTS_READ,
    description="Units of an order line that the location is to send.",
)
class FulfillmentOrderLine(Node):
    quantity: int = column(tables.FulfillmentOrderLine.quantity, "Units to send.")
    quantity_picked: int = column(
        tables.FulfillmentOrderLine.quantity_picked, "Units taken from their shelf, those that left included."
    )
    quantity_shipped: int = column(tables.FulfillmentOrderLine.quantity_shipped, "Units that have left.")
    quantity_short: int = column(
        tables.FulfillmentOrderLine.quantity_short, "Units that the location could not find."
    )
    quantity_cancelled: int = column(
        tables.FulfillmentOrderLine.quantity_cancelled, "Units that were called off."
    )
    quantity_open: int = expression(
        lambda line: line.quantity - line.quantity_shipped - line.quantity_short - line.quantity_cancelled,
        "Units that are still to leave.",
    )
    order_line: OrderLine = one(
        "OrderLine",
        lambda line, order_line: order_line.id == line.order_line_id,
        "The line of the order.",
        visible_with_parent=True,
    )
    product: Product = one(
        "Product",
        lambda line, product: product.id == line.product_id,
        "What to send.",
        visible_with_parent=True,
    )
