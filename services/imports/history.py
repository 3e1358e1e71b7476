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

from db.bulk import NULL, Rows, bigint, document, instant, integer, new_id, text, uuid
from domain.order_commands import Address
from domain.order_status import Units, fulfillment_status
from domain.orders import AdjustmentKind, OrderStatus
from domain.payment_sums import OrderMoney, payment_status
from domain.payments import PaymentState
from domain.pricing import Charge
from services.imports.documents import add_claims, add_payment, add_shipment
from services.imports.forms import Forms
from services.imports.imported import Claimed, Imported
from services.imports.telling import NOTHING, Telling

_NONE = integer(0)


class History:
    """Writes the orders of one channel, all in `currency`, which left from one location."""

    def __init__(self, channel: Row[Any], *, location_id: UUID, currency: str, actor: str) -> None:
        self._forms = Forms(channel, location_id=location_id, currency=currency, actor=actor)
        self._location_id = uuid(location_id)
        self._currency = currency
        # Without a scan an order completes some days after it left, as one of ours does.
        self._completes_after = timedelta(days=channel.completes_after_days)

    def write(
        self,
        rows: Rows,
        order: Imported,
        *,
        allocated: Sequence[Claimed] = (),
        backordered: Sequence[Claimed] = (),
        now: datetime,
    ) -> None:
        """Make every row of one order, whose number is known."""
        telling = Telling(rows, self._forms, order)
        total, currency = order.priced.total, self._currency
        told = document({"units": telling.units, "total": total, "currency": currency})
        telling.tell(self._forms.imported, telling.id, telling.placed_at, told)
        received = 0
        if order.cancelled_at is None and total:
            received = total  # the other system has collected the money
            add_payment(telling, total, currency)
        status, completed_at = self._follow(telling, now)
        if order.is_open:
            add_claims(telling, allocated, backordered, now)
        _add_order(telling, status, received, completed_at)
        _add_lines(telling, allocated, backordered)

    def _follow(self, telling: Telling, now: datetime) -> tuple[OrderStatus, bytes]:
        """Tell what became of the order, step by step; where it stands, and when it was completed."""
        order, forms = telling.order, self._forms
        if order.cancelled_at is not None:
            telling.tell(forms.cancelled, telling.id, instant(order.cancelled_at), NOTHING)
            return OrderStatus.CANCELLED, NULL
        telling.tell(forms.confirmed, telling.id, telling.placed_at, NOTHING)
        left_at = order.left_at
        if left_at is None:
            return OrderStatus.CONFIRMED, NULL
        left = instant(left_at)
        add_shipment(telling, self._location_id, left)
        telling.tell(forms.processing, telling.id, left, NOTHING)
        done_at = order.delivered_at or left_at + self._completes_after
        if done_at > now:
            return OrderStatus.PROCESSING, NULL
        completed_at = instant(done_at)
        telling.tell(forms.completed, telling.id, completed_at, NOTHING)
        return OrderStatus.COMPLETED, completed_at


def _add_order(telling: Telling, status: OrderStatus, received: int, completed_at: bytes) -> None:
    order = telling.order
    command, priced = order.command, order.priced
    cancelled = order.cancelled_at is not None
    left_at = None if cancelled else order.left_at
    units = Units(
        quantity=telling.units,
        cancelled=telling.units if cancelled else 0,
        fulfilled=0 if left_at is None else telling.units,
    )
    due = 0 if cancelled else priced.total
    money = OrderMoney(captured=received, states=(PaymentState.CAPTURED,) if received else ())
    shipping_address = _address(command.shipping_address)
    telling.rows.add(
        telling.forms.order,
        telling.id,
        text(order.number),
        text(status),
        text(payment_status(due, money)),
        text(fulfillment_status(units)),
        telling.customer_id,
        telling.company_id,
        text(command.sales_representative),
        text(command.email),
        text(command.phone),
        shipping_address,
        shipping_address if command.billing_address is None else _address(command.billing_address),
        text(command.note),
        bigint(priced.subtotal),
        bigint(priced.discount_total),
        bigint(priced.shipping_total),
        bigint(priced.fee_total),
        bigint(priced.tax_total),
        bigint(priced.total),
        bigint(due),
        bigint(received),
        bigint(telling.version),  # everything has been told by now
        telling.placed_at,
        NULL if cancelled else telling.placed_at,
        completed_at,
        instant(order.cancelled_at),
        instant(left_at),
        document(command.metadata) if command.metadata else NOTHING,
    )


def _address(address: Address) -> bytes:
    return document(address.to_json())


def _add_lines(telling: Telling, allocated: Sequence[Claimed], backordered: Sequence[Claimed]) -> None:
    order, forms, rows = telling.order, telling.forms, telling.rows
    cancelled, left = order.cancelled_at is not None, order.left_at is not None
    for index, (known, product) in enumerate(zip(order.lines, order.products, strict=True)):
        line, line_id = known.line, telling.line_ids[index]
        quantity = integer(line.quantity)
        rows.add(
            forms.line,
            line_id,
            telling.id,
            integer(index + 1),
            telling.product_ids[index],
            text(line.name or product.name),
            known.sent,
            quantity if cancelled else _NONE,
            quantity if left and not cancelled else _NONE,
            _claimed(allocated, index),
            _claimed(backordered, index),
        )
        for part in known.amounts.discounts:
            made = Charge(amount=part.amount, label=part.discount.label)
            _add_adjustment(telling, AdjustmentKind.DISCOUNT, made, line_id)
    for charge in order.command.shipping:
        _add_adjustment(telling, AdjustmentKind.SHIPPING, charge, NULL)
    for charge in order.command.fees:
        _add_adjustment(telling, AdjustmentKind.FEE, charge, NULL)


def _claimed(claims: Sequence[Claimed], line: int) -> bytes:
    if not claims:
        return _NONE
    return integer(sum(claim.quantity for claim in claims if claim.line == line))


def _add_adjustment(telling: Telling, kind: AdjustmentKind, charge: Charge, line_id: bytes) -> None:
    telling.rows.add(
        telling.forms.adjustment,
        new_id(),
        telling.id,
        line_id,
        text(kind),
        text(charge.label),
        bigint(charge.amount),
    )
