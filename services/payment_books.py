"""An order's payments with their transactions, locked: read, added to, and settled.

Every change of a payment goes through here, so that its sums are always those of
its transactions and its status is the one they put it in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row

from db import visibility
from db.base import new_id
from db.engine import Session
from db.payments import Payment, PaymentTransaction, Refund
from domain.access import Principal, VisibilityClass
from domain.errors import InvalidInput, Refused
from domain.events import PAYMENT_EVENTS, EventType
from domain.money import Money, require_amount
from domain.payment_sums import PaymentFacts, PaymentSums, Transaction, add_up, payment_state
from domain.payments import (
    GATES,
    PAYMENT,
    TRANSACTION,
    PaymentState,
    RefundStatus,
    TransactionKind,
    TransactionStatus,
)
from domain.states import transition
from services.events import Event
from services.order_changes import OrderChange, lock_order, not_found

OPEN = (TransactionStatus.PENDING, TransactionStatus.UNKNOWN)
"""A transaction whose outcome is not known yet."""


WAITING = (PaymentState.PENDING, PaymentState.ACTION_REQUIRED)

MANUAL, EXTERNAL = "manual", "external"
"""Providers that nobody can call: people, or the marketplace, report what happened."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a transaction was known by when the book was read."""

    kind: TransactionKind
    provider_reference: str | None
    refund_id: UUID | None


@dataclass(slots=True)
class Book:
    """A payment and its transactions, the oldest first, as they are in this transaction by now."""

    row: Row[Any]
    status: PaymentState
    transactions: dict[UUID, Transaction] = field(default_factory=dict)
    recorded: dict[UUID, Recorded] = field(default_factory=dict)

    @property
    def id(self) -> UUID:
        payment_id: UUID = self.row.id
        return payment_id

    @property
    def sums(self) -> PaymentSums:
        return add_up(self.transactions.values())

    @property
    def facts(self) -> PaymentFacts:
        return PaymentFacts(self.status, self.sums, GATES[self.row.method], self.row.amount)


_transaction = PaymentTransaction.__table__.c
_BOOKS = (
    sa.select(
        Payment.__table__,
        _transaction.id.label("transaction_id"),
        _transaction.kind.label("transaction_kind"),
        _transaction.status.label("transaction_status"),
        _transaction.amount.label("transaction_amount"),
        _transaction.provider_reference.label("transaction_reference"),
        _transaction.refund_id.label("transaction_refund_id"),
    )
    .join_from(Payment, PaymentTransaction, PaymentTransaction.payment_id == Payment.id, isouter=True)
    .where(Payment.order_id == sa.bindparam("order_id", type_=sa.Uuid()))
    .order_by(Payment.id, _transaction.id)
    # Transactions are only ever settled by whoever holds their payment.
    .with_for_update(of=Payment)
)


async def open_books(session: Session, change: OrderChange) -> list[Book]:
    """The locked order's payments, the oldest first."""
    books: dict[UUID, Book] = {}
    for row in await session.execute(_BOOKS, {"order_id": change.id}):
        book = books.setdefault(row.id, Book(row=row, status=row.status))
        if row.transaction_id is not None:
            book.transactions[row.transaction_id] = Transaction(
                row.transaction_kind, row.transaction_status, row.transaction_amount
            )
            book.recorded[row.transaction_id] = Recorded(
                row.transaction_kind, row.transaction_reference, row.transaction_refund_id
            )
    return list(books.values())


@lru_cache(maxsize=256)
def _visible(caller: VisibilityClass) -> sa.Select[Any]:
    table = Payment.__table__
    return sa.select(table.c.id, table.c.order_id).where(
        table.c.id == sa.bindparam("id", type_=sa.Uuid()), visibility.predicate("payment", table, caller)
    )


async def lock_payment(
    session: Session, payment_id: UUID, *, actor: Principal, now: datetime, field_name: str = "paymentId"
) -> tuple[OrderChange, list[Book], Book]:
    """Lock the order of a payment that the actor may see; its books, and the payment's own among them."""
    statement = _visible(VisibilityClass.of(actor))
    seen: Row[Any] | None = (
        await session.execute(statement, {"id": payment_id, **visibility.values(actor)})
    ).one_or_none()
    if seen is None:
        raise not_found("pay", payment_id, field_name)
    change = await lock_order(session, seen.order_id, actor=actor, now=now, field_name=field_name)
    books = await open_books(session, change)
    return change, books, next(book for book in books if book.id == payment_id)


async def add_transaction(
    session: Session,
    change: OrderChange,
    book: Book,
    kind: TransactionKind,
    amount: int,
    *,
    status: TransactionStatus = TransactionStatus.PENDING,
    refund_id: UUID | None = None,
    provider_reference: str | None = None,
) -> UUID:
    """Add a request to (PENDING) or a report of (SUCCEEDED) the provider; its id is the provider's key."""
    transaction_id = new_id()
    await session.execute(
        sa.insert(PaymentTransaction).values(
            id=transaction_id,
            payment_id=book.id,
            order_id=change.id,
            currency=book.row.currency,
            kind=kind,
            status=status,
            amount=amount,
            refund_id=refund_id,
            provider_reference=provider_reference,
            settled_at=None if status in OPEN else change.now,
            created_at=change.now,
            updated_at=change.now,
        )
    )
    book.transactions[transaction_id] = Transaction(kind, status, amount)
    return transaction_id


async def settle_transaction(
    session: Session,
    change: OrderChange,
    book: Book,
    transaction_id: UUID,
    status: TransactionStatus,
    *,
    amount: int | None = None,
    provider_reference: str | None = None,
    failure: str | None = None,
) -> Transaction:
    """Write down what became of an open transaction; `amount` is what the provider says it came to."""
    before = book.transactions[transaction_id]
    after = Transaction(
        before.kind,
        before.status if before.status is status else transition(TRANSACTION, before.status, status),
        before.amount if amount is None else amount,
    )
    values: dict[str, Any] = {"status": after.status, "amount": after.amount, "updated_at": change.now}
    if provider_reference is not None:
        values["provider_reference"] = provider_reference
    if failure is not None:
        values["failure"] = failure
    if after.status not in OPEN and before.status in OPEN:
        values["settled_at"] = change.now
    await session.execute(
        sa.update(PaymentTransaction).where(PaymentTransaction.id == transaction_id).values(values)
    )
    book.transactions[transaction_id] = after
    return after


async def settle(
    session: Session,
    change: OrderChange,
    book: Book,
    *,
    action_required: bool = False,
    expired: bool = False,
    details: Mapping[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
) -> None:
    """Bring the payment's sums and status to what its transactions say, and record a move.

    A payment that has ended stays as it ended: late reports still add up. `values`
    are other columns to set.
    """
    sums = book.sums
    columns: dict[str, Any] = {
        "authorized_amount": sums.authorized,
        "captured_amount": sums.captured,
        "voided_amount": sums.voided,
        "refunded_amount": sums.refunded,
        "charged_back_amount": sums.charged_back,
        **(values or {}),
        "updated_at": change.now,
    }
    before = book.status
    after = payment_state(
        list(book.transactions.values()),
        action_required=action_required or before is PaymentState.ACTION_REQUIRED,
        expired=expired,
    )
    if after is not before and PAYMENT.can(before, after):
        book.status = transition(PAYMENT, before, after)
        columns["status"] = after
        change.record(
            Event(
                type=PAYMENT_EVENTS[after],
                subject_kind="PAYMENT",
                subject_id=book.id,
                from_status=before,
                to_status=after,
                details={**money_details(book), **(details or {})},
            )
        )
    await session.execute(sa.update(Payment).where(Payment.id == book.id).values(columns))


def money_details(book: Book) -> dict[str, Any]:
    """What an event tells of a payment: minor units, never who pays or with what."""
    sums = book.sums
    told = {
        "authorized": sums.authorized,
        "captured": sums.captured,
        "voided": sums.voided,
        "refunded": sums.refunded,
    }
    return {
        "method": book.row.method,
        "amount": book.row.amount,
        "currency": book.row.currency,
        **{name: amount for name, amount in told.items() if amount},
    }


def asked(book: Book, kind: EventType, transaction_id: UUID, **details: Any) -> Event:
    """The event of asking a payment's provider for something; a job is made of it."""
    return Event(
        type=kind,
        subject_kind="PAYMENT",
        subject_id=book.id,
        details={
            "transactionId": str(transaction_id),
            "amount": book.transactions[transaction_id].amount,
            "currency": book.row.currency,
            **details,
        },
    )


async def add_refund(
    session: Session,
    change: OrderChange,
    book: Book,
    amount: int,
    *,
    return_id: UUID | None = None,
    reason: str | None = None,
) -> UUID:
    """Ask for `amount` of this payment to be given back; the caller has checked that it was received."""
    refund_id = new_id()
    await session.execute(
        sa.insert(Refund).values(
            id=refund_id,
            order_id=change.id,
            payment_id=book.id,
            return_id=return_id,
            status=RefundStatus.PENDING,
            currency=book.row.currency,
            amount=amount,
            reason=reason,
            created_at=change.now,
            updated_at=change.now,
        )
    )
    transaction_id = await add_transaction(
        session, change, book, TransactionKind.REFUND, amount, refund_id=refund_id
    )
    change.record(
        Event(
            type=EventType.REFUND_REQUESTED,
            subject_kind="REFUND",
            subject_id=refund_id,
            to_status=RefundStatus.PENDING,
            return_id=return_id,
            details={
                "paymentId": str(book.id),
                "transactionId": str(transaction_id),
                "amount": amount,
                "currency": book.row.currency,
            },
        )
    )
    return refund_id


async def add_void(session: Session, change: OrderChange, book: Book) -> UUID | None:
    """Ask for what is authorised and will not be captured to be released; None when there is nothing."""
    amount = book.sums.voidable
    if not amount:
        return None
    transaction_id = await add_transaction(session, change, book, TransactionKind.VOID, amount)
    change.record(asked(book, EventType.PAYMENT_VOID_REQUESTED, transaction_id))
    return transaction_id


def in_currency(amount: Money, currency: str, *, field: tuple[str, ...] = ("amount",)) -> int:
    """The minor units of an amount that a caller sent, which must be in the payment's currency and positive."""
    if amount.currency != currency:
        message = f"The amount must be in {currency}, not {amount.currency}."
        raise Refused(InvalidInput(message=message, field=(*field, "currencyCode")))
    return require_amount(amount.amount, field=field, minimum=1)


def owed(change: OrderChange) -> int:
    """Minor units the order comes to by now, less what returns have credited."""
    due = change.values.get("current_total", change.order.current_total)
    credited = change.values.get("credited_total", change.order.credited_total)
    return int(max(0, due - credited))


def received(books: Sequence[Book]) -> int:
    return sum(book.sums.received for book in books)
