"""The documents of an imported order: its payment, what was sent, and what an open one waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from db.fulfillment import FulfillmentOrder, FulfillmentOrderLine
from db.payments import Payment, PaymentTransaction
from db.shipments import CarrierEvent, Package, Shipment, ShipmentLine
from db.stock import Allocation, Backorder
from domain.events import EventType
from domain.fulfillment import FulfillmentOrderStatus, RequestStatus
from domain.payments import PaymentMethod, PaymentState, TransactionKind, TransactionStatus
from domain.shipments import CarrierEventKind, DeliveryStatus, ShipmentStatus
from services.events import Event
from services.imports.imported import Claimed, Imported, Rows


def add_payment(rows: Rows, order: Imported, channel: Row[Any]) -> int:
    """The other system has collected the money; returns how much."""
    total = order.priced.total
    if order.cancelled_at is not None or total == 0:
        return 0
    payment_id = rows.add(
        Payment,
        order_id=order.id,
        method=PaymentMethod.EXTERNAL,
        provider="external",
        status=PaymentState.CAPTURED,
        collected_by=channel.collected_by,
        currency=order.command.currency,
        amount=total,
        authorized_amount=total,
        captured_amount=total,
        created_at=order.placed_at,
    )
    rows.add(
        PaymentTransaction,
        payment_id=payment_id,
        order_id=order.id,
        kind=TransactionKind.SALE,
        status=TransactionStatus.SUCCEEDED,
        currency=order.command.currency,
        amount=total,
        settled_at=order.placed_at,
        created_at=order.placed_at,
    )
    order.happened.append(
        Event(
            type=EventType.PAYMENT_CAPTURED,
            subject_kind="PAYMENT",
            subject_id=payment_id,
            to_status=PaymentState.CAPTURED,
            details={"amount": total, "currency": order.command.currency},
            occurred_at=order.placed_at,
        )
    )
    return total


def add_shipment(rows: Rows, order: Imported, location_id: UUID, left_at: datetime) -> None:
    common = {"created_at": left_at, "updated_at": order.delivered_at or left_at}
    fulfillment_order_id = rows.add(
        FulfillmentOrder,
        order_id=order.id,
        location_id=location_id,
        status=FulfillmentOrderStatus.CLOSED,
        request_status=RequestStatus.CLOSED,
        **common,
    )
    delivered = DeliveryStatus.DELIVERED if order.delivered_at is not None else None
    shipment_id = rows.add(
        Shipment,
        order_id=order.id,
        fulfillment_order_id=fulfillment_order_id,
        location_id=location_id,
        status=ShipmentStatus.SHIPPED,
        delivery_status=delivered,
        carrier=order.carrier,
        shipped_at=left_at,
        delivered_at=order.delivered_at,
        **common,
    )
    for index, line in enumerate(order.command.lines):
        of_line = {
            "order_line_id": order.line_ids[index],
            "product_id": order.products[index].id,
            "quantity": line.quantity,
        }
        asked_id = rows.add(
            FulfillmentOrderLine,
            fulfillment_order_id=fulfillment_order_id,
            quantity_picked=line.quantity,
            quantity_shipped=line.quantity,
            **of_line,
        )
        rows.add(ShipmentLine, shipment_id=shipment_id, fulfillment_order_line_id=asked_id, **of_line)
    package_id = rows.add(
        Package,
        shipment_id=shipment_id,
        carrier=order.carrier,
        tracking_number=order.tracking_number,
        delivery_status=delivered,
        delivered_at=order.delivered_at,
        **common,
    )
    order.happened += [
        Event(
            type=EventType.SHIPMENT_SHIPPED,
            subject_kind="SHIPMENT",
            subject_id=shipment_id,
            to_status=ShipmentStatus.SHIPPED,
            location_id=location_id,
            details={"units": order.units},
            occurred_at=left_at,
        ),
        Event(
            type=EventType.FULFILLMENT_ORDER_CLOSED,
            subject_kind="FULFILLMENT_ORDER",
            subject_id=fulfillment_order_id,
            to_status=FulfillmentOrderStatus.CLOSED,
            location_id=location_id,
            details={"quantity": order.units},
            occurred_at=left_at,
        ),
    ]
    if order.delivered_at is not None:
        _add_delivery(rows, order, shipment_id, package_id, location_id, order.delivered_at)


def _add_delivery(
    rows: Rows, order: Imported, shipment_id: UUID, package_id: UUID, location_id: UUID, at: datetime
) -> None:
    rows.add(
        CarrierEvent,
        package_id=package_id,
        partner_event_id="imported",
        kind=CarrierEventKind.DELIVERED,
        occurred_at=at,
        created_at=at,
    )
    order.happened.append(
        Event(
            type=EventType.DELIVERY_UPDATED,
            subject_kind="SHIPMENT",
            subject_id=shipment_id,
            location_id=location_id,
            details={"from": None, "to": DeliveryStatus.DELIVERED},
            occurred_at=at,
        )
    )


def add_claims(
    rows: Rows,
    order: Imported,
    allocated: Sequence[Claimed],
    backordered: Sequence[Claimed],
    now: datetime,
) -> None:
    """What an open order waits for: allocated units at their locations, the rest owed."""
    for claim in allocated:
        rows.add(
            Allocation,
            order_id=order.id,
            order_line_id=order.line_ids[claim.line],
            stock_level_id=claim.level_id,
            location_id=claim.location_id,
            quantity=claim.quantity,
            created_at=now,
        )
    for claim in backordered:
        rows.add(
            Backorder,
            order_id=order.id,
            order_line_id=order.line_ids[claim.line],
            stock_level_id=claim.level_id,
            quantity=claim.quantity,
            created_at=now,
        )
    by_location: dict[UUID, list[Claimed]] = {}
    for claim in allocated:
        by_location.setdefault(claim.location_id, []).append(claim)
    for location_id, claims in by_location.items():
        _ask(rows, order, location_id, claims, now)
    if backordered:
        order.happened.append(
            Event(
                type=EventType.ORDER_UNITS_BACKORDERED,
                subject_kind="ORDER",
                subject_id=order.id,
                details={"lines": [_told(order, claim) for claim in backordered]},
            )
        )


def _told(order: Imported, claim: Claimed) -> Mapping[str, Any]:
    return {
        "orderLineId": str(order.line_ids[claim.line]),
        "sku": order.command.lines[claim.line].sku,
        "quantity": claim.quantity,
    }


def _ask(rows: Rows, order: Imported, location_id: UUID, claims: Sequence[Claimed], now: datetime) -> None:
    """Ask a location for what it keeps for the order."""
    fulfillment_order_id = rows.add(
        FulfillmentOrder,
        order_id=order.id,
        location_id=location_id,
        status=FulfillmentOrderStatus.OPEN,
        request_status=RequestStatus.SUBMITTED,
        created_at=now,
        updated_at=now,
    )
    for claim in claims:
        rows.add(
            FulfillmentOrderLine,
            fulfillment_order_id=fulfillment_order_id,
            order_line_id=order.line_ids[claim.line],
            product_id=order.products[claim.line].id,
            quantity=claim.quantity,
            quantity_picked=0,
            quantity_shipped=0,
        )
    order.happened.append(
        Event(
            type=EventType.FULFILLMENT_ORDER_OPENED,
            subject_kind="FULFILLMENT_ORDER",
            subject_id=fulfillment_order_id,
            to_status=FulfillmentOrderStatus.OPEN,
            location_id=location_id,
            details={"quantity": sum(claim.quantity for claim in claims)},
        )
    )
