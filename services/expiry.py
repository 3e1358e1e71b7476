"""What time ends: orders unpaid when payment was due, and authorisations nobody captured."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from db.engine import Session
from db.orders import Order
from db.payments import Payment, PaymentTransaction
from domain.access import Principal
from domain.order_status import OrderFacts, is_expired
from domain.orders import OrderStatus
from domain.payment_sums import LIVE_AUTHORIZATION, release_gate_met
from domain.payments import TransactionKind
from services import cancellation, claims, order_facts, payment_holds
from services.order_changes import lock_order, move, save
from services.payment_books import OPEN, open_books, settle

_NOW = sa.bindparam("now", type_=sa.TIMESTAMP(timezone=True))
_LIMIT = sa.bindparam("limit", type_=sa.Integer())

ORDERS_DUE = (
    sa.select(Order.id)
    .where(
        Order.status == OrderStatus.PENDING, Order.payment_due_at.is_not(None), Order.payment_due_at <= _NOW
    )
    .order_by(Order.payment_due_at)
    .limit(_LIMIT)
)
"""Orders to look at under their lock: those whose gate is met do not expire."""

AUTHORIZATIONS_DUE = (
    sa.select(Payment.id)
    .where(
        Payment.status.in_(sorted(LIVE_AUTHORIZATION)),
        Payment.authorization_expires_at <= _NOW,
        # What is being captured or released still is to be told of; the rest expires after that.
        ~sa.exists().where(
            PaymentTransaction.payment_id == Payment.id,
            PaymentTransaction.status.in_(OPEN),
            PaymentTransaction.kind.in_((TransactionKind.CAPTURE, TransactionKind.VOID)),
        ),
    )
    .order_by(Payment.authorization_expires_at)
    .limit(_LIMIT)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireOrder:
    order_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireAuthorization:
    payment_id: UUID


async def expire_order(session: Session, command: ExpireOrder, /, *, actor: Principal, now: datetime) -> bool:
    """Expire the order if it is unpaid at its due time; whether it was.

    Its stock is freed, its payments are given up; money that comes after this goes back.
    """
    change = await lock_order(session, command.order_id, actor=actor, now=now)
    facts = await order_facts.read(session, change.id)
    order = change.order
    due = OrderFacts(
        status=order.status,
        units=facts.units,
        gate_met=release_gate_met(order.release_gate, order.current_total, facts.money),
    )
    if not is_expired(due, order.payment_due_at, now):
        return False
    await claims.free_stock(session, change)
    move(change, OrderStatus.EXPIRED)
    await cancellation.lower_total(session, change)
    await save(session, change)
    return True


async def expire_authorization(
    session: Session, command: ExpireAuthorization, /, *, actor: Principal, now: datetime
) -> bool:
    """End an authorisation whose time is up; whether it was. What has not shipped of its order is held.

    The payment becomes EXPIRED, or CAPTURED where a part of it was captured. A new
    payment that covers the order releases it.
    """
    order_id = (
        await session.execute(sa.select(Payment.order_id).where(Payment.id == command.payment_id))
    ).scalar_one()
    change = await lock_order(session, order_id, actor=actor, now=now)
    books = await open_books(session, change)
    book = next(book for book in books if book.id == command.payment_id)
    expires_at = book.row.authorization_expires_at
    busy = book.sums.capture_pending or book.sums.void_pending
    if book.status not in LIVE_AUTHORIZATION or expires_at is None or expires_at > now or busy:
        return False
    await settle(session, change, book, expired=True)
    facts = await order_facts.read(session, change.id)
    under_way = change.order.status in (OrderStatus.CONFIRMED, OrderStatus.PROCESSING)
    if under_way and facts.units.open > 0:
        await payment_holds.hold_expired(session, change)
    await save(session, change)
    return True
