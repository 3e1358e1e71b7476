"""The rows that an imported order consists of, whatever has become of it by now.

History moves no stock: what left in another system's time left that system's
stock. Everything that happened is told in its own time, with the origin IMPORTED.
Columns for when a row was made are left to the database: its transaction's time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from db.orders import Order, OrderAdjustment, OrderLine
from domain.events import AggregateKind, EventType
from domain.order_status import Units, fulfillment_status
from domain.orders import AdjustmentKind, OrderStatus, Origin, ReturnStatus
from domain.payment_sums import OrderMoney, payment_status
from domain.payments import GATES, PaymentMethod, PaymentState
from domain.pricing import Charge
from services import events
from services.imports.documents import add_claims, add_payment, add_shipment
from services.imports.imported import Claimed, Imported, Rows


def write(
    order: Imported,
    channel: Row[Any],
    *,
    location_id: UUID,
    allocated: Sequence[Claimed] = (),
    backordered: Sequence[Claimed] = (),
    actor: str,
    now: datetime,
) -> None:
    """Make every row of one order, whose number is known."""
    rows = order.rows = Rows()
    order.happened.clear()  # a transaction that is tried again writes it again
    order.step(OrderStatus.PENDING, None, order.placed_at)
    received = add_payment(rows, order, channel)
    status = _follow(rows, order, channel, location_id, now)
    if order.is_open:
        add_claims(rows, order, allocated, backordered, now)
    _add_order(rows, order, channel, status, received)
    _add_lines(rows, order, allocated, backordered)
    aggregate = events.Aggregate(
        kind=AggregateKind.ORDER,
        id=order.id,
        version=0,
        order_id=order.id,
        channel_id=channel.id,
        customer_id=order.command.customer_id,
        company_id=order.company_id,
    )
    rows.tell(events.rows(aggregate, order.happened, actor=actor, now=now, origin=Origin.IMPORTED))


def _follow(rows: Rows, order: Imported, channel: Row[Any], location_id: UUID, now: datetime) -> OrderStatus:
    """Tell what became of the order, step by step; returns where it stands."""
    if order.cancelled_at is not None:
        order.step(OrderStatus.CANCELLED, OrderStatus.PENDING, order.cancelled_at)
        return OrderStatus.CANCELLED
    order.step(OrderStatus.CONFIRMED, OrderStatus.PENDING, order.placed_at)
    left_at = order.shipped_at or order.delivered_at
    if left_at is None:
        return OrderStatus.CONFIRMED
    add_shipment(rows, order, location_id, left_at)
    order.step(OrderStatus.PROCESSING, OrderStatus.CONFIRMED, left_at)
    # Without a scan an order completes some days after it left, as one of ours does.
    done_at = order.delivered_at or left_at + timedelta(days=channel.completes_after_days)
    if done_at > now:
        return OrderStatus.PROCESSING
    order.step(OrderStatus.COMPLETED, OrderStatus.PROCESSING, done_at)
    return OrderStatus.COMPLETED


def _add_order(rows: Rows, order: Imported, channel: Row[Any], status: OrderStatus, received: int) -> None:
    command, priced = order.command, order.priced
    cancelled = order.cancelled_at is not None
    left_at = order.shipped_at or order.delivered_at
    units = Units(
        quantity=order.units,
        cancelled=order.units if cancelled else 0,
        fulfilled=order.units if left_at is not None and not cancelled else 0,
    )
    due = 0 if cancelled else priced.total
    money = OrderMoney(captured=received, states=(PaymentState.CAPTURED,) if received else ())
    done_at = next((e.occurred_at for e in order.happened if e.type == EventType.ORDER_COMPLETED), None)
    rows.add(
        Order,
        id=order.id,
        channel_id=channel.id,
        number=order.number,
        status=status,
        payment_status=payment_status(due, money),
        fulfillment_status=fulfillment_status(units),
        return_status=ReturnStatus.NONE,
        origin=Origin.IMPORTED,
        customer_id=command.customer_id,
        company_id=order.company_id,
        sales_representative=command.sales_representative,
        email=command.email,
        phone=command.phone,
        shipping_address=command.shipping_address.to_json(),
        billing_address=command.billed_to().to_json(),
        note=command.note,
        release_gate=GATES[PaymentMethod.EXTERNAL],
        collected_by=channel.collected_by,
        currency=command.currency,
        subtotal=priced.subtotal,
        discount_total=priced.discount_total,
        shipping_total=priced.shipping_total,
        fee_total=priced.fee_total,
        tax_total=priced.tax_total,
        original_total=priced.total,
        current_total=due,
        received_total=received,
        version=len(order.happened),  # everything has been told by now
        placed_at=order.placed_at,
        confirmed_at=None if cancelled else order.placed_at,
        completed_at=done_at,
        cancelled_at=order.cancelled_at,
        dispatched_at=None if cancelled else left_at,
        metadata_=command.metadata,
    )


def _add_lines(
    rows: Rows, order: Imported, allocated: Sequence[Claimed], backordered: Sequence[Claimed]
) -> None:
    currency = order.command.currency
    cancelled, left = order.cancelled_at is not None, not order.is_open and order.cancelled_at is None
    for index, (line, product, amounts) in enumerate(
        zip(order.command.lines, order.products, order.priced.lines, strict=True)
    ):
        line_id = rows.add(
            OrderLine,
            id=order.line_ids[index],
            order_id=order.id,
            line_number=index + 1,
            product_id=product.id,
            sku=line.sku,
            name=line.name or product.name,
            external_id=line.external_id,
            quantity=line.quantity,
            quantity_cancelled=line.quantity if cancelled else 0,
            quantity_fulfilled=line.quantity if left else 0,
            quantity_allocated=sum(claim.quantity for claim in allocated if claim.line == index),
            quantity_backordered=sum(claim.quantity for claim in backordered if claim.line == index),
            currency=currency,
            unit_price=line.unit_price,
            discount_total=amounts.discount,
            net_total=amounts.net,
            tax_total=amounts.tax,
            gross_total=amounts.gross,
        )
        for part in amounts.discounts:
            made = Charge(amount=part.amount, label=part.discount.label)
            _add_adjustment(rows, order, AdjustmentKind.DISCOUNT, made, line_id)
    for charge in order.command.shipping:
        _add_adjustment(rows, order, AdjustmentKind.SHIPPING, charge, None)
    for charge in order.command.fees:
        _add_adjustment(rows, order, AdjustmentKind.FEE, charge, None)


def _add_adjustment(
    rows: Rows, order: Imported, kind: AdjustmentKind, charge: Charge, line_id: UUID | None
) -> None:
    rows.add(
        OrderAdjustment,
        order_id=order.id,
        order_line_id=line_id,
        kind=kind,
        label=charge.label,
        currency=order.command.currency,
        amount=charge.amount,
    )
