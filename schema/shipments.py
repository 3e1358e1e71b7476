"""Shipments, their parcels and what carriers report of them, as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from strawberry.scalars import JSON

from db import shipments as tables
from domain.access import Scope
from domain.actions import SHIPMENT_ACTIONS
from domain.shipments import CarrierEventKind, DeliveryStatus, ShipmentStatus
from schema import enums  # noqa: F401 - registers the enumerations that fields name
from schema.actions import actions_of
from schema.plan import Node, column, expression, many, one, planned

if TYPE_CHECKING:  # named by fields; resolved when the schema is built
    from schema.fulfillment import FulfillmentOrder, FulfillmentOrderLine
    from schema.locations import Location
    from schema.orders import Order, OrderLine
    from schema.products import Product


def _actions(shipment: Any) -> sa.ColumnElement[Any]:
    return actions_of(SHIPMENT_ACTIONS, shipment.status, {})


@planned(
    tables.Shipment,
    node="shp",
    scope=Scope.SHIPMENTS_READ,
    description=(
        "What leaves a location for a customer, in one or several parcels. Its units leave stock when it is SHIPPED "
        "or COLLECTED; `deliveryStatus` is what carriers say of it from then on."
    ),
)
class Shipment(Node):
    status: ShipmentStatus = column(
        tables.Shipment.status, "Where it stands; docs/states.md draws the transitions."
    )
    delivery_status: DeliveryStatus | None = column(
        tables.Shipment.delivery_status,
        "What its carrier reports, by the parcel that needs attention most; DELIVERED once every parcel is.",
    )
    carrier: str | None = column(tables.Shipment.carrier, "Who carries it.")
    service: str | None = column(tables.Shipment.service, "The carrier's service: express, standard, …")
    cancel_reason: str | None = column(
        tables.Shipment.cancel_reason, "Why it was undone, in words.", scope=Scope.SHIPMENTS_WRITE
    )
    shipped_at: datetime | None = column(tables.Shipment.shipped_at, "When it left.")
    delivered_at: datetime | None = column(
        tables.Shipment.delivered_at, "When the last of its parcels was delivered, or it was collected."
    )
    available_actions: list[str] = expression(
        _actions, "Mutations that its status permits now, whether or not you have the scope for them."
    )
    metadata: JSON = column(tables.Shipment.metadata_, "Whatever its partners keep on it; not interpreted.")
    created_at: datetime = column(tables.Shipment.created_at, "When it was begun.")
    updated_at: datetime = column(tables.Shipment.updated_at, "When it last changed.")
    order: Order = one(
        "Order", lambda shipment, order: order.id == shipment.order_id, "Its order.", visible_with_parent=True
    )
    fulfillment_order: FulfillmentOrder | None = one(
        "FulfillmentOrder",
        lambda shipment, found: found.id == shipment.fulfillment_order_id,
        "What the location was asked to send; null for imported history.",
        visible_with_parent=True,
    )
    location: Location = one(
        "Location",
        lambda shipment, location: location.id == shipment.location_id,
        "Where it leaves from.",
        visible_with_parent=True,
    )
    lines: list[ShipmentLine] = many(
        "ShipmentLine",
        lambda shipment, line: line.shipment_id == shipment.id,
        order_by=lambda line: (line.id,),
        description="What is in it.",
        size=5,
    )
    packages: list[Package] = many(
        "Package",
        lambda shipment, package: package.shipment_id == shipment.id,
        order_by=lambda package: (package.id,),
        description="Its parcels.",
        size=2,
    )


@planned(
    tables.ShipmentLine,
    node="shl",
    scope=Scope.SHIPMENTS_READ,
    description="Units of an order line in a shipment.",
)
class ShipmentLine(Node):
    quantity: int = column(tables.ShipmentLine.quantity, "Units.")
    order_line: OrderLine = one(
        "OrderLine",
        lambda line, order_line: order_line.id == line.order_line_id,
        "The line of the order.",
        visible_with_parent=True,
    )
    fulfillment_order_line: FulfillmentOrderLine | None = one(
        "FulfillmentOrderLine",
        lambda line, found: found.id == line.fulfillment_order_line_id,
        "The line of the fulfillment order; null for imported history.",
        visible_with_parent=True,
    )
    product: Product = one(
        "Product",
        lambda line, product: product.id == line.product_id,
        "What it is.",
        visible_with_parent=True,
    )


@planned(
    tables.Package,
    node="pkg",
    scope=Scope.SHIPMENTS_READ,
    description="A parcel. The same reports of its carrier give the same status, in whatever order they come.",
)
class Package(Node):
    carrier: str | None = column(tables.Package.carrier, "Who carries it.")
    tracking_number: str | None = column(tables.Package.tracking_number, "What the carrier calls it.")
    tracking_url: str | None = column(tables.Package.tracking_url, "Where a person can follow it.")
    weight_grams: int | None = column(tables.Package.weight_grams, "Its weight in grams.")
    delivery_status: DeliveryStatus | None = column(
        tables.Package.delivery_status, "Where it is, as far as its carrier has said; null before any scan."
    )
    delivered_at: datetime | None = column(
        tables.Package.delivered_at, "When it was delivered, by the carrier's clock."
    )
    created_at: datetime = column(tables.Package.created_at, "When it was described.")
    updated_at: datetime = column(tables.Package.updated_at, "When it last changed.")
    shipment: Shipment = one(
        "Shipment",
        lambda package, shipment: shipment.id == package.shipment_id,
        "Its shipment.",
        visible_with_parent=True,
    )
    carrier_events: list[CarrierEvent] = many(
        "CarrierEvent",
        lambda package, event: event.package_id == package.id,
        order_by=lambda event: (event.occurred_at, event.id),
        description="What its carrier reported, by the carrier's clock.",
        size=8,
    )


@planned(
    tables.CarrierEvent,
    node="cev",
    scope=Scope.SHIPMENTS_READ,
    description="One report of a carrier on one parcel, kept once however often it is sent.",
)
class CarrierEvent(Node):
    partner_event_id: str = column(
        tables.CarrierEvent.partner_event_id,
        "The carrier's own id of the report; names it within its parcel.",
    )
    kind: CarrierEventKind = column(tables.CarrierEvent.kind, "What it reports.")
    occurred_at: datetime = column(
        tables.CarrierEvent.occurred_at, "When it happened, by the carrier's clock."
    )
    place: str | None = column(tables.CarrierEvent.place, "Where it happened.")
    description: str | None = column(tables.CarrierEvent.description, "The carrier's own words.")
    created_at: datetime = column(tables.CarrierEvent.created_at, "When we were told first.")
    package: Package = one(
        "Package",
        lambda event, package: package.id == event.package_id,
        "The parcel.",
        visible_with_parent=True,
    )
