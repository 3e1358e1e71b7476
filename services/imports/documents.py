"""The documents of an imported order: its payment, what was sent, and what an open one waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from db.bulk import NULL, bigint, document, id_of, instant, integer, new_id, text, uuid
from domain.shipments import DeliveryStatus
from services.imports.imported import Claimed
from services.imports.telling import Telling

_NONE = integer(0)
_DELIVERED = text(DeliveryStatus.DELIVERED)
_TOLD_DELIVERED = document({"from": None, "to": DeliveryStatus.DELIVERED})


def add_payment(telling: Telling, total: int, currency: str) -> None:
    """One payment of everything, captured by the other system when the order was placed."""
    payment_id, amount, at = new_id(), bigint(total), telling.placed_at
    telling.rows.add(telling.forms.payment, payment_id, telling.id, amount, amount, amount, at)
    telling.rows.add(telling.forms.sale, new_id(), payment_id, telling.id, amount, at, at)
    telling.tell(telling.forms.captured, payment_id, at, document({"amount": total, "currency": currency}))


def add_shipment(telling: Telling, location_id: bytes, left_at: bytes) -> None:
    """Everything left at once, in one parcel; `location_id` and `left_at` as they are sent."""
    order, forms, rows = telling.order, telling.forms, telling.rows
    delivered_at = instant(order.delivered_at)
    changed_at = left_at if order.delivered_at is None else delivered_at
    status = NULL if order.delivered_at is None else _DELIVERED
    carrier = text(order.carrier)
    fulfillment_order_id, shipment_id, package_id = new_id(), new_id(), new_id()
    rows.add(forms.sent, fulfillment_order_id, telling.id, left_at, changed_at)
    rows.add(
        forms.shipment,
        *(shipment_id, telling.id, fulfillment_order_id, status, carrier),
        *(left_at, delivered_at, left_at, changed_at),
    )
    for line_id, product_id, known in zip(telling.line_ids, telling.product_ids, order.lines, strict=True):
        quantity, asked_id = integer(known.line.quantity), new_id()
        rows.add(
            forms.asked_line,
            *(asked_id, fulfillment_order_id, line_id, product_id),
            *(quantity, quantity, quantity),
        )
        rows.add(forms.shipment_line, new_id(), shipment_id, line_id, asked_id, product_id, quantity)
    rows.add(
        forms.package,
        *(package_id, shipment_id, carrier, text(order.tracking_number), status),
        *(delivered_at, left_at, changed_at),
    )
    told = document({"units": telling.units})
    telling.tell(forms.shipped, shipment_id, left_at, told, location_id)
    told = document({"quantity": telling.units})
    telling.tell(forms.closed, fulfillment_order_id, left_at, told, location_id)
    if order.delivered_at is not None:
        rows.add(forms.delivery, new_id(), package_id, delivered_at, delivered_at)
        telling.tell(forms.delivered, shipment_id, delivered_at, _TOLD_DELIVERED, location_id)


def add_claims(
    telling: Telling, allocated: Sequence[Claimed], backordered: Sequence[Claimed], now: datetime
) -> None:
    """What an open order waits for: allocated units at their locations, the rest owed."""
    at = instant(now)
    for claim in allocated:
        telling.rows.add(telling.forms.allocation, *_claim(telling, claim, at), uuid(claim.location_id))
    for claim in backordered:
        telling.rows.add(telling.forms.backorder, *_claim(telling, claim, at))
    by_location: dict[UUID, list[Claimed]] = {}
    for claim in allocated:
        by_location.setdefault(claim.location_id, []).append(claim)
    for location_id, claims in by_location.items():
        _ask(telling, uuid(location_id), claims, at)
    if backordered:
        told = document({"lines": [_told(telling, claim) for claim in backordered]})
        telling.tell(telling.forms.backordered, telling.id, at, told)


def _claim(telling: Telling, claim: Claimed, at: bytes) -> tuple[bytes, ...]:
    line_id = telling.line_ids[claim.line]
    return new_id(), telling.id, line_id, uuid(claim.level_id), integer(claim.quantity), at


def _told(telling: Telling, claim: Claimed) -> Mapping[str, Any]:
    return {
        "orderLineId": str(id_of(telling.line_ids[claim.line])),
        "sku": telling.order.lines[claim.line].line.sku,
        "quantity": claim.quantity,
    }


def _ask(telling: Telling, location_id: bytes, claims: Sequence[Claimed], at: bytes) -> None:
    """Ask a location for what it keeps for the order."""
    fulfillment_order_id = new_id()
    telling.rows.add(telling.forms.asked, fulfillment_order_id, telling.id, at, at, location_id)
    for claim in claims:
        telling.rows.add(
            telling.forms.asked_line,
            *(new_id(), fulfillment_order_id),
            *(telling.line_ids[claim.line], telling.product_ids[claim.line]),
            *(integer(claim.quantity), _NONE, _NONE),
        )
    told = document({"quantity": sum(claim.quantity for claim in claims)})
    telling.tell(telling.forms.opened, fulfillment_order_id, at, told, location_id)
