"""Money that people and partners tell us of: transfers by hand, settlements, chargebacks, webhooks.

Reports are facts. Each is known by the reporter's own reference: told ten times it
has one effect.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from db.base import new_id
from db.engine import Session
from db.payments import Refund
from domain.access import Principal
from domain.discrepancies import DiscrepancyKind
from domain.errors import InvalidInput, Refused
from domain.events import EventType
from domain.payment_commands import (
    RecordPayment,
    ReportPayment,
    check_record_payment,
    check_report_payment,
)
from domain.payments import REPORTED, RefundStatus, ReportKind, TransactionKind, TransactionStatus
from services.discrepancies import record_discrepancy
from services.events import Event
from services.order_changes import OrderChange, not_found, save
from services.payment_books import (
    EXTERNAL,
    MANUAL,
    OPEN,
    Book,
    add_transaction,
    asked,
    in_currency,
    lock_payment,
    settle,
)
from services.transactions import Outcome, RecordResult, add_reported, apply_result


async def record_payment(
    session: Session, command: RecordPayment, /, *, actor: Principal, now: datetime
) -> UUID:
    """Count money that came by hand; returns the payment's id.

    Refused: NotFound, InvalidInput (its provider reports this payment itself).
    """
    check_record_payment(command)
    change, books, book = await lock_payment(session, command.payment_id, actor=actor, now=now)
    if book.row.provider != MANUAL:
        message = f"The provider {book.row.provider} reports this payment: it is not recorded by hand."
        raise Refused(InvalidInput(message=message, field=("paymentId",)))
    report = ReportPayment(
        payment_id=book.id,
        kind=ReportKind.RECEIVED,
        reference=command.reference or "",
        amount=command.amount,
    )
    await _apply(session, change, books, book, report)
    await save(session, change)
    return command.payment_id


async def report_payment(
    session: Session, command: ReportPayment, /, *, actor: Principal, now: datetime
) -> UUID:
    """Write down what a provider or marketplace reports; returns the payment's id.

    Refused: NotFound (the payment, or its transaction), InvalidInput (an amount is
    needed, or a failure names no request of ours).
    """
    check_report_payment(command)
    change, books, book = await lock_payment(session, command.payment_id, actor=actor, now=now)
    await _apply(session, change, books, book, command)
    await save(session, change)
    return command.payment_id


async def _apply(
    session: Session, change: OrderChange, books: list[Book], book: Book, report: ReportPayment
) -> None:
    kind = REPORTED[report.kind]
    amount = None if report.amount is None else in_currency(report.amount, book.row.currency)
    transaction_id = _meant(book, kind, amount, report)
    if transaction_id is not None:
        result = RecordResult(
            transaction_id=transaction_id,
            outcome=Outcome.SUCCEEDED if report.succeeded else Outcome.FAILED,
            amount=amount,
            provider_reference=report.reference or None,
            expires_at=report.expires_at,
            failure=report.failure,
        )
        await apply_result(session, change, books, book, result)
        return
    if not report.succeeded:
        message = "Say which request failed: none of this kind is open."
        raise Refused(InvalidInput(message=message, field=("transactionId",)))
    if amount is None:
        message = "Say how much: no request of ours is meant."
        raise Refused(InvalidInput(message=message, field=("amount",)))
    await _unasked(session, change, books, book, kind, amount, report)


def _meant(book: Book, kind: TransactionKind, amount: int | None, report: ReportPayment) -> UUID | None:
    """The transaction that a report is about: the one it names, the one that has its
    reference already, or the only open one of its kind."""
    if report.transaction_id is not None:
        if report.transaction_id not in book.transactions:
            raise not_found("ptx", report.transaction_id, "transactionId")
        return report.transaction_id
    if report.reference:
        for transaction_id, row in book.recorded.items():
            if row.kind is kind and row.provider_reference == report.reference:
                return transaction_id
    unnamed = _uncounted_settlement(book, kind)
    if unnamed is not None:
        return unnamed
    waiting = [
        transaction_id
        for transaction_id, transaction in book.transactions.items()
        if transaction.kind is kind and transaction.status in OPEN
    ]
    if len(waiting) == 1:
        return waiting[0]
    same = [one for one in waiting if book.transactions[one].amount == amount]
    return same[0] if same else None


def _uncounted_settlement(book: Book, kind: TransactionKind) -> UUID | None:
    """What a marketplace collects counted when the order was placed; its settlement tells of that money."""
    if kind is not TransactionKind.SALE or book.row.provider != EXTERNAL:
        return None
    return next(
        (
            transaction_id
            for transaction_id, row in book.recorded.items()
            if row.kind is kind and row.provider_reference is None
        ),
        None,
    )


async def _unasked(
    session: Session,
    change: OrderChange,
    books: list[Book],
    book: Book,
    kind: TransactionKind,
    amount: int,
    report: ReportPayment,
) -> None:
    """A success that none of our requests asked for."""
    if kind is TransactionKind.CHARGEBACK:
        await _charge_back(session, change, book, amount, report)
        return
    reported = RecordResult(
        transaction_id=book.id,
        outcome=Outcome.SUCCEEDED,
        provider_reference=report.reference or None,
        expires_at=report.expires_at,
    )
    refund_id = None
    if kind is TransactionKind.REFUND:
        refund_id = await _refunded(session, change, book, min(amount, book.sums.refundable))
    await add_reported(session, change, books, book, kind, amount, reported, refund_id=refund_id)


async def _refunded(session: Session, change: OrderChange, book: Book, amount: int) -> UUID | None:
    """A refund that somebody else made stands among ours, as far as it is within what was received."""
    if amount <= 0:
        return None
    values = {
        "order_id": change.id,
        "payment_id": book.id,
        "status": RefundStatus.SUCCEEDED,
        "currency": book.row.currency,
        "amount": amount,
        "reason": "Reported by whoever paid it out.",
        "settled_at": change.now,
        "created_at": change.now,
        "updated_at": change.now,
    }
    refund_id = new_id()
    await session.execute(sa.insert(Refund).values(id=refund_id, **values))
    change.record(
        Event(
            type=EventType.REFUND_SUCCEEDED,
            subject_kind="REFUND",
            subject_id=refund_id,
            to_status=RefundStatus.SUCCEEDED,
            details={"paymentId": str(book.id), "amount": amount, "currency": book.row.currency},
        )
    )
    return refund_id


async def _charge_back(
    session: Session, change: OrderChange, book: Book, amount: int, report: ReportPayment
) -> None:
    """The bank took the money back: it counts against the payment, and staff decide what to do about it."""
    transaction_id = await add_transaction(
        session,
        change,
        book,
        TransactionKind.CHARGEBACK,
        amount,
        status=TransactionStatus.SUCCEEDED,
        provider_reference=report.reference or None,
    )
    await settle(session, change, book)
    change.record(asked(book, EventType.PAYMENT_CHARGED_BACK, transaction_id))
    await record_discrepancy(
        session,
        change,
        DiscrepancyKind.CHARGEBACK,
        subject_kind="PAYMENT",
        subject_id=book.id,
        report=str(transaction_id),
        details={"amount": amount, "currency": book.row.currency},
    )
