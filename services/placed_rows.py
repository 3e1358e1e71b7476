"""The rows of an order that is placed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from db.base import new_id
from db.engine import Session
from db.orders import OrderAdjustment, OrderTaxLine
from domain.events import EventType
from domain.order_commands import PlaceOrder
from domain.order_status import Units
from domain.orders import (
    AdjustmentKind,
    CollectedBy,
    FulfillmentStatus,
    OrderStatus,
    Origin,
    PaymentStatus,
    ReleaseGate,
    ReturnStatus,
)
from domain.payment_sums import OrderMoney, PaymentFacts
from domain.payments import COLLECTORS, GATES
from domain.pricing import Charge, PricedOrder
from services.catalogue import Listed, Offer, Seller
from services.events import Event
from services.order_changes import NewOrder, OrderChange
from services.order_facts import Facts
from services.promises import Promise, Taken

ORDER_KIND = "ORDER"
"""The entity kind under which external ids of orders are kept."""


def _gate(command: PlaceOrder, seller: Seller) -> tuple[ReleaseGate, CollectedBy]:
    """What releases the order and who collects: the method's own way, else the channel's."""
    if command.payment is None:
        return seller.release_gate, seller.collected_by
    method = command.payment.method
    return GATES[method], COLLECTORS.get(method, CollectedBy.MERCHANT)


def new_order(
    order_id: UUID, command: PlaceOrder, offer: Offer, priced: PricedOrder, now: datetime
) -> NewOrder:
    seller, buyer = offer.seller, offer.buyer
    gate, collector = _gate(command, seller)
    shipping_address = command.shipping_address.to_json()
    billing_address = command.billing_address
    return NewOrder(
        id=order_id,
        channel_id=seller.id,
        number=offer.number,
        status=OrderStatus.PENDING,
        payment_status=PaymentStatus.UNPAID,
        fulfillment_status=FulfillmentStatus.UNFULFILLED,
        return_status=ReturnStatus.NONE,
        on_hold=False,
        origin=Origin.PLACED,
        customer_id=buyer.id if buyer is not None else None,
        company_id=offer.company_id or (buyer.company_id if buyer is not None else None),
        sales_representative=command.sales_representative,
        email=command.email or (buyer.email if buyer is not None else None),
        phone=command.phone or (buyer.phone if buyer is not None else None),
        shipping_address=shipping_address,
        billing_address=shipping_address if billing_address is None else billing_address.to_json(),
        note=command.note,
        priority=command.priority,
        release_gate=gate,
        collected_by=collector,
        currency=seller.currency,
        subtotal=priced.subtotal,
        discount_total=priced.discount_total,
        shipping_total=priced.shipping_total,
        fee_total=priced.fee_total,
        tax_total=priced.tax_total,
        original_total=priced.total,
        current_total=priced.total,
        received_total=0,
        refunded_total=0,
        charged_back_total=0,
        reservation_id=command.reservation_id,
        version=0,
        placed_at=command.placed_at or now,
        payment_due_at=now + timedelta(minutes=seller.payment_due_minutes),
        confirmed_at=None,
        completed_at=None,
        cancelled_at=None,
        dispatched_at=None,
        metadata_=dict(command.metadata),
        private_metadata=dict(command.private_metadata),
        created_at=now,
        updated_at=now,
    )


def units(command: PlaceOrder, promise: Promise) -> Units:
    """Where the units of all its lines are."""
    return Units(
        quantity=sum([line.quantity for line in command.lines]),
        allocated=sum([taken.quantity for taken in promise.allocations]),
        backordered=sum([taken.quantity for taken in promise.backorders]),
    )


def facts(placed: Units, paid: Sequence[PaymentFacts], seller: Seller) -> Facts:
    """What would be read of the order once it is written."""
    return Facts(
        units=placed,
        delivered=0,
        in_trouble=0,
        work_begun=False,
        money=OrderMoney.of(paid),
        returns=(),
        completes_after=timedelta(days=seller.completes_after_days),
    )


def lines(
    change: OrderChange,
    command: PlaceOrder,
    products: Sequence[Listed],
    priced: PricedOrder,
    promise: Promise,
    line_ids: Sequence[UUID],
) -> list[dict[str, Any]]:
    """The lines, in the order given."""
    allocated, backordered = _by_line(promise.allocations), _by_line(promise.backorders)
    return [
        {
            "id": line_ids[index],
            "order_id": change.id,
            "line_number": index + 1,
            "product_id": product.id,
            "sku": line.sku,
            "name": line.name or product.name,
            "external_id": line.external_id,
            "quantity": line.quantity,
            "quantity_allocated": allocated.get(index, 0),
            "quantity_backordered": backordered.get(index, 0),
            "currency": change.order.currency,
            "unit_price": amounts.undiscounted // line.quantity,
            "discount_total": amounts.discount,
            "net_total": amounts.net,
            "tax_total": amounts.tax,
            "gross_total": amounts.gross,
            "metadata_": dict(line.metadata),
            "created_at": change.now,
        }
        for index, (line, product, amounts) in enumerate(
            zip(command.lines, products, priced.lines, strict=True)
        )
    ]


def _by_line(parts: Sequence[Taken]) -> dict[int, int]:
    found: dict[int, int] = {}
    for part in parts:
        found[part.line] = found.get(part.line, 0) + part.quantity
    return found


async def add_adjustments(
    session: Session,
    change: OrderChange,
    command: PlaceOrder,
    priced: PricedOrder,
    line_ids: Sequence[UUID],
) -> None:
    common = {"order_id": change.id, "currency": change.order.currency, "created_at": change.now}

    def charge(kind: AdjustmentKind, made: Charge) -> dict[str, Any]:
        row = {"kind": kind, "code": made.code, "label": made.label, "amount": made.amount}
        return {**common, "id": new_id(), "order_line_id": None, **row}

    adjustments = [
        *(charge(AdjustmentKind.SHIPPING, made) for made in command.shipping),
        *(charge(AdjustmentKind.FEE, made) for made in command.fees),
    ]
    taxes = []
    owners: list[tuple[UUID | None, Any]] = [
        (None, priced),
        *zip(line_ids, priced.lines, strict=True),
    ]
    for line_id, owner in owners:
        for part in owner.discounts:
            made = Charge(amount=part.amount, label=part.discount.label, code=part.discount.code)
            adjustments.append({**charge(AdjustmentKind.DISCOUNT, made), "order_line_id": line_id})
        for part in owner.taxes:
            taxes.append(
                {
                    **common,
                    "id": new_id(),
                    "order_line_id": line_id,
                    "kind": part.tax.kind,
                    "jurisdiction": part.tax.jurisdiction,
                    "base_amount": part.base,
                    "rate": part.tax.rate,
                    "amount": part.amount,
                    "included": part.tax.included,
                }
            )
    await session.add(OrderAdjustment, adjustments)
    await session.add(OrderTaxLine, taxes)


def event(order: NewOrder, placed: Units) -> Event:
    return Event(
        type=EventType.ORDER_PLACED,
        subject_kind=ORDER_KIND,
        subject_id=order.id,
        to_status=OrderStatus.PENDING,
        details={
            "units": placed.quantity,
            "allocated": placed.allocated,
            "backordered": placed.backordered,
            "total": order.original_total,
            "currency": order.currency,
        },
    )
