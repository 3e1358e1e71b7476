"""What the rows of imported orders have in common, filled in once for all orders of a channel."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Row

from db.base import Base
from db.bulk import Form
from db.events import Outbox
from db.fulfillment import FulfillmentOrder, FulfillmentOrderLine
from db.orders import Order, OrderAdjustment, OrderLine
from db.payments import Payment, PaymentTransaction
from db.shipments import CarrierEvent, Package, Shipment, ShipmentLine
from db.stock import Allocation, Backorder
from domain.events import FULFILLMENT_ORDER_EVENTS, ORDER_EVENTS, AggregateKind, EventType
from domain.fulfillment import FulfillmentOrderStatus, RequestStatus
from domain.orders import OrderStatus, Origin, ReturnStatus
from domain.payments import GATES, PaymentMethod, PaymentState, TransactionKind, TransactionStatus
from domain.shipments import CarrierEventKind, ShipmentStatus
from services.imports.imported import SENT

TABLES: tuple[type[Base], ...] = (
    Order,
    OrderLine,
    OrderAdjustment,
    Payment,
    PaymentTransaction,
    FulfillmentOrder,
    FulfillmentOrderLine,
    Shipment,
    ShipmentLine,
    Package,
    CarrierEvent,
    Allocation,
    Backorder,
    Outbox,
)
"""In an order in which every foreign key finds its row."""

WHOSE = "aggregate_id order_id customer_id company_id"
"""Columns of an event that are the same in all of an order's."""


class Forms:
    """The forms of one channel's orders, which left from one location."""

    def __init__(self, channel: Row[Any], *, location_id: UUID, currency: str, actor: str) -> None:
        money = {"currency": currency}
        collected = {"collected_by": channel.collected_by}
        self.order = Form(
            Order,
            (
                *("id", "number", "status", "payment_status", "fulfillment_status"),
                *("customer_id", "company_id", "sales_representative", "email", "phone"),
                *("shipping_address", "billing_address", "note"),
                *("subtotal", "discount_total", "shipping_total", "fee_total", "tax_total"),
                *("original_total", "current_total", "received_total", "version", "placed_at"),
                *("confirmed_at", "completed_at", "cancelled_at", "dispatched_at", "metadata_"),
            ),
            channel_id=channel.id,
            return_status=ReturnStatus.NONE,
            origin=Origin.IMPORTED,
            release_gate=GATES[PaymentMethod.EXTERNAL],
            **collected,
            **money,
        )
        self.line = Form(
            OrderLine,
            (
                *("id", "order_id", "line_number", "product_id", "name", SENT),
                *("quantity_cancelled", "quantity_fulfilled", "quantity_allocated", "quantity_backordered"),
            ),
            **money,
        )
        self.adjustment = Form(
            OrderAdjustment, ("id", "order_id", "order_line_id", "kind", "label", "amount"), **money
        )
        self.payment = Form(
            Payment,
            ("id", "order_id", "amount", "authorized_amount", "captured_amount", "created_at"),
            method=PaymentMethod.EXTERNAL,
            provider="external",
            status=PaymentState.CAPTURED,
            **collected,
            **money,
        )
        self.sale = Form(
            PaymentTransaction,
            ("id", "payment_id", "order_id", "amount", "settled_at", "created_at"),
            kind=TransactionKind.SALE,
            status=TransactionStatus.SUCCEEDED,
            **money,
        )
        self.sent = Form(
            FulfillmentOrder,
            ("id", "order_id", "created_at", "updated_at"),
            status=FulfillmentOrderStatus.CLOSED,
            request_status=RequestStatus.CLOSED,
            location_id=location_id,
        )
        self.asked = Form(
            FulfillmentOrder,
            ("id", "order_id", "created_at", "updated_at", "location_id"),
            status=FulfillmentOrderStatus.OPEN,
            request_status=RequestStatus.SUBMITTED,
        )
        self.asked_line = Form(
            FulfillmentOrderLine,
            (
                *("id", "fulfillment_order_id", "order_line_id", "product_id"),
                *("quantity", "quantity_picked", "quantity_shipped"),
            ),
        )
        self.shipment = Form(
            Shipment,
            (
                *("id", "order_id", "fulfillment_order_id", "delivery_status", "carrier"),
                *("shipped_at", "delivered_at", "created_at", "updated_at"),
            ),
            location_id=location_id,
            status=ShipmentStatus.SHIPPED,
        )
        self.shipment_line = Form(
            ShipmentLine,
            ("id", "shipment_id", "order_line_id", "fulfillment_order_line_id", "product_id", "quantity"),
        )
        self.package = Form(
            Package,
            (
                *("id", "shipment_id", "carrier", "tracking_number", "delivery_status"),
                *("delivered_at", "created_at", "updated_at"),
            ),
        )
        self.delivery = Form(
            CarrierEvent,
            ("id", "package_id", "occurred_at", "created_at"),
            partner_event_id="imported",
            kind=CarrierEventKind.DELIVERED,
        )
        claim = ("id", "order_id", "order_line_id", "stock_level_id", "quantity", "created_at")
        self.allocation = Form(Allocation, (*claim, "location_id"))
        self.backorder = Form(Backorder, claim)
        self._events(channel, actor)

    def _events(self, channel: Row[Any], actor: str) -> None:
        def told(
            type_: EventType, subject: str, before: str | None = None, status: str | None = None
        ) -> Form:
            """All of one shape: the relay moves events in the order in which they were added."""
            return Form(
                Outbox,
                ("event_id", WHOSE, "subject_id", "version", "location_id", "details", "occurred_at"),
                type=type_,
                aggregate_kind=AggregateKind.ORDER,
                subject_kind=subject,
                from_status=before,
                to_status=status,
                channel_id=channel.id,
                origin=Origin.IMPORTED,
                actor=actor,
            )

        def step(before: OrderStatus, status: OrderStatus) -> Form:
            return told(ORDER_EVENTS[status], "ORDER", before, status)

        self.imported = told(EventType.ORDER_IMPORTED, "ORDER", None, OrderStatus.PENDING)
        self.confirmed = step(OrderStatus.PENDING, OrderStatus.CONFIRMED)
        self.cancelled = step(OrderStatus.PENDING, OrderStatus.CANCELLED)
        self.processing = step(OrderStatus.CONFIRMED, OrderStatus.PROCESSING)
        self.completed = step(OrderStatus.PROCESSING, OrderStatus.COMPLETED)
        self.captured = told(EventType.PAYMENT_CAPTURED, "PAYMENT", None, PaymentState.CAPTURED)
        self.shipped = told(EventType.SHIPMENT_SHIPPED, "SHIPMENT", None, ShipmentStatus.SHIPPED)
        self.delivered = told(EventType.DELIVERY_UPDATED, "SHIPMENT")
        self.backordered = told(EventType.ORDER_UNITS_BACKORDERED, "ORDER")
        self.opened, self.closed = (
            told(FULFILLMENT_ORDER_EVENTS[status], "FULFILLMENT_ORDER", None, status)
            for status in (FulfillmentOrderStatus.OPEN, FulfillmentOrderStatus.CLOSED)
        )
