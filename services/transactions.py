"""What providers say became of our requests: recorded always, and once.

A result may come from a job, from asking, from a webhook or from a person, several
times and late. Under the order's lock the first to say something new has an
effect; what fits no arrow is a discrepancy for staff, and money that nobody is
owed any more goes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from db.base import JSONObject
from db.engine import Session
from db.payments import PaymentTransaction, Refund
from domain.access import Principal
from domain.discrepancies import DiscrepancyKind
from domain.errors import NotFound, Refused
from domain.events import REFUND_EVENTS, EventType
from domain.orders import OrderStatus
from domain.payment_sums import LIVE_AUTHORIZATION, Transaction
from domain.payments import (
    REFUND,
    PaymentState,
    RefundStatus,
    TransactionKind,
    TransactionStatus,
)
from domain.states import transition
from services import payment_holds, returns
from services.discrepancies import record_discrepancy
from services.events import Event
from services.order_changes import OrderChange, lock_order, save
from services.payment_books import (
    OPEN,
    Book,
    add_refund,
    add_transaction,
    add_void,
    asked,
    open_books,
    owed,
    received,
    settle,
    settle_transaction,
)


class Outcome(StrEnum):
    """What a provider answers when it is asked for something, or about it."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    PENDING = "PENDING"  # it has the request; ask again later
    ACTION_REQUIRED = "ACTION_REQUIRED"  # the customer must act; `instructions` say how
    UNKNOWN = "UNKNOWN"  # no answer came back


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordResult:
    """What became of a transaction. `amount`, in minor units, where it is not what was asked for."""

    transaction_id: UUID
    outcome: Outcome
    amount: int | None = None
    provider_reference: str | None = None
    instructions: JSONObject | None = None
    expires_at: datetime | None = None
    failure: str | None = None


async def record_result(
    session: Session, command: RecordResult, /, *, actor: Principal, now: datetime
) -> UUID:
    """Write down what became of a transaction; returns its id. The same result twice is once.

    Refused with NotFound when there is no such transaction that the actor may see.
    """
    order_id = (
        await session.execute(
            sa.select(PaymentTransaction.order_id).where(PaymentTransaction.id == command.transaction_id)
        )
    ).scalar_one_or_none()
    if order_id is None:
        text = f"ptx_{command.transaction_id}"
        message = f"There is no {text} that you may see."
        raise Refused(NotFound(message=message, field=("transactionId",), id=text))
    change = await lock_order(session, order_id, actor=actor, now=now, field_name="transactionId")
    books = await open_books(session, change)
    book = next(book for book in books if command.transaction_id in book.transactions)
    await apply_result(session, change, books, book, command)
    await save(session, change)
    return command.transaction_id


async def apply_result(
    session: Session, change: OrderChange, books: list[Book], book: Book, result: RecordResult
) -> None:
    """The effect of a result on the locked order; the caller saves the change."""
    transaction = book.transactions[result.transaction_id]
    if transaction.status not in OPEN:
        await _again(session, change, books, book, transaction, result)
        return
    match result.outcome:
        case Outcome.SUCCEEDED:
            await settle_transaction(
                session,
                change,
                book,
                result.transaction_id,
                TransactionStatus.SUCCEEDED,
                amount=result.amount,
                provider_reference=result.provider_reference,
            )
            await succeeded(session, change, books, book, result.transaction_id, result)
        case Outcome.FAILED:
            await settle_transaction(
                session,
                change,
                book,
                result.transaction_id,
                TransactionStatus.FAILED,
                provider_reference=result.provider_reference,
                failure=result.failure or "The provider gave no reason.",
            )
            await _failed(session, change, book, transaction.kind, result)
        case Outcome.UNKNOWN:
            if transaction.status is not TransactionStatus.UNKNOWN:
                await settle_transaction(
                    session, change, book, result.transaction_id, TransactionStatus.UNKNOWN
                )
                change.record(asked(book, EventType.PAYMENT_OUTCOME_UNKNOWN, result.transaction_id))
        case Outcome.PENDING | Outcome.ACTION_REQUIRED:
            await _waiting(session, change, book, transaction, result)


async def _waiting(
    session: Session, change: OrderChange, book: Book, transaction: Transaction, result: RecordResult
) -> None:
    """The provider has it. An UNKNOWN request stays so until its end is known; it is asked about anyway."""
    await settle_transaction(
        session,
        change,
        book,
        result.transaction_id,
        transaction.status,
        provider_reference=result.provider_reference,
    )
    if result.outcome is Outcome.ACTION_REQUIRED:
        shown = {"instructions": result.instructions or {}}
        if result.provider_reference:
            shown["provider_reference"] = result.provider_reference  # type: ignore[assignment] # a column's value
        await settle(session, change, book, action_required=True, values=shown)


async def succeeded(
    session: Session,
    change: OrderChange,
    books: list[Book],
    book: Book,
    transaction_id: UUID,
    result: RecordResult,
) -> None:
    """A transaction of `book` has just been written down as SUCCEEDED: what follows from that."""
    transaction = book.transactions[transaction_id]
    was = book.status
    match transaction.kind:
        case TransactionKind.AUTHORIZATION | TransactionKind.SALE:
            values: dict[str, Any] = {"failure": None}
            if result.provider_reference is not None:
                values["provider_reference"] = result.provider_reference
            if result.expires_at is not None:
                values["authorization_expires_at"] = result.expires_at
            await settle(session, change, book, values=values)
        case TransactionKind.REFUND:
            await settle(session, change, book)
            await _settle_refund(session, change, book, transaction_id, RefundStatus.SUCCEEDED)
        case _:
            await settle(session, change, book)
    if transaction.kind in (TransactionKind.SALE, TransactionKind.CAPTURE):
        await _money_came(session, change, books, book, transaction_id, was)
    elif transaction.kind is TransactionKind.AUTHORIZATION:
        ended = change.order.status in _TOO_LATE or book.status not in LIVE_AUTHORIZATION
        if ended:
            await add_void(session, change, book)
        else:
            await payment_holds.release_when_covered(session, change, books)
    elif transaction.kind is TransactionKind.REFUND:
        await _excess(
            session,
            change,
            book,
            DiscrepancyKind.EXCESS_REFUND,
            transaction_id,
            -min(0, book.sums.received),
        )
        await returns.close_settled(session, change)


_TOO_LATE = frozenset({OrderStatus.CANCELLED, OrderStatus.EXPIRED})


async def _money_came(
    session: Session,
    change: OrderChange,
    books: list[Book],
    book: Book,
    transaction_id: UUID,
    was: PaymentState,
) -> None:
    """Money counts whenever it comes. Too late it goes back; too much of it is for staff to settle."""
    amount = book.transactions[transaction_id].amount
    if change.order.status in _TOO_LATE:
        await _excess(session, change, book, DiscrepancyKind.LATE_PAYMENT, transaction_id, amount)
        pending = sum(other.sums.refund_pending for other in books)
        late = min(book.sums.refundable, received(books) - pending - owed(change))
        if late > 0:
            await add_refund(session, change, book, late, reason="The order had ended when it was paid.")
        return
    if was in (PaymentState.EXPIRED, PaymentState.FAILED, PaymentState.VOIDED):
        await _excess(session, change, book, DiscrepancyKind.LATE_PAYMENT, transaction_id, amount)
    else:
        over = received(books) - owed(change)
        beyond = book.sums.captured - book.sums.authorized
        await _excess(
            session,
            change,
            book,
            DiscrepancyKind.EXCESS_PAYMENT,
            transaction_id,
            min(amount, max(over, beyond)),
        )
    await payment_holds.release_when_covered(session, change, books)


async def _excess(
    session: Session,
    change: OrderChange,
    book: Book,
    kind: DiscrepancyKind,
    transaction_id: UUID,
    amount: int,
) -> None:
    if amount <= 0:
        return
    await record_discrepancy(
        session,
        change,
        kind,
        subject_kind="PAYMENT",
        subject_id=book.id,
        report=str(transaction_id),
        details={"amount": amount, "currency": book.row.currency},
    )


async def _failed(
    session: Session, change: OrderChange, book: Book, kind: TransactionKind, result: RecordResult
) -> None:
    failure = result.failure or "The provider gave no reason."
    match kind:
        case TransactionKind.AUTHORIZATION | TransactionKind.SALE:
            await settle(session, change, book, values={"failure": failure})
        case TransactionKind.REFUND:
            await settle(session, change, book)
            await _settle_refund(
                session, change, book, result.transaction_id, RefundStatus.FAILED, failure=failure
            )
        case TransactionKind.CAPTURE | TransactionKind.VOID:
            await settle(session, change, book, values={"failure": failure})
            event = (
                EventType.PAYMENT_CAPTURE_FAILED
                if kind is TransactionKind.CAPTURE
                else EventType.PAYMENT_VOID_FAILED
            )
            change.record(asked(book, event, result.transaction_id))


async def _settle_refund(
    session: Session,
    change: OrderChange,
    book: Book,
    transaction_id: UUID,
    status: RefundStatus,
    *,
    failure: str | None = None,
) -> None:
    row = book.recorded.get(transaction_id)
    if row is None or row.refund_id is None:
        return
    refund = (
        await session.execute(sa.select(Refund.__table__).where(Refund.id == row.refund_id).with_for_update())
    ).one()
    paid = book.transactions[transaction_id].amount
    await session.execute(
        sa.update(Refund)
        .where(Refund.id == refund.id)
        .values(
            status=transition(REFUND, refund.status, status),
            # Less than was asked for is what it came to; more is an excess, told of as such.
            amount=min(paid, refund.amount) or refund.amount,
            failure=failure,
            settled_at=change.now,
            updated_at=change.now,
        )
    )
    change.record(
        Event(
            type=REFUND_EVENTS[status],
            subject_kind="REFUND",
            subject_id=refund.id,
            from_status=refund.status,
            to_status=status,
            return_id=refund.return_id,
            details={
                "paymentId": str(book.id),
                "amount": paid,
                "currency": book.row.currency,
            },
        )
    )


async def _again(
    session: Session,
    change: OrderChange,
    books: list[Book],
    book: Book,
    transaction: Transaction,
    result: RecordResult,
) -> None:
    """Something about a settled transaction: a repetition is nothing, a contradiction is for staff.

    Money that moved after all ("failed", then "succeeded") cannot be ignored either:
    it counts as a transaction of its own.
    """
    if result.outcome not in (Outcome.SUCCEEDED, Outcome.FAILED):
        return
    same_end = transaction.status.value == result.outcome.value
    same_amount = result.amount is None or result.amount == transaction.amount
    if same_end and (same_amount or transaction.status is TransactionStatus.FAILED):
        row = book.recorded[result.transaction_id]
        if row.provider_reference is None and result.provider_reference is not None:
            await settle_transaction(
                session,
                change,
                book,
                result.transaction_id,
                transaction.status,
                provider_reference=result.provider_reference,
            )
        return
    amount = transaction.amount if result.amount is None else result.amount
    after_all = transaction.status is TransactionStatus.FAILED
    # Reports differ in what they say of the amount; the money of one request moves once.
    report = f"{result.transaction_id}:{result.outcome}" + ("" if after_all else f":{amount}")
    new = await record_discrepancy(
        session,
        change,
        DiscrepancyKind.CONFLICTING_REPORT,
        subject_kind="PAYMENT",
        subject_id=book.id,
        report=report,
        details={
            "transactionId": str(result.transaction_id),
            "recorded": transaction.status,
            "recordedAmount": transaction.amount,
            "reported": result.outcome,
            "reportedAmount": amount,
        },
    )
    if new is not None and after_all:
        await add_reported(session, change, books, book, transaction.kind, amount, result)


async def add_reported(
    session: Session,
    change: OrderChange,
    books: list[Book],
    book: Book,
    kind: TransactionKind,
    amount: int,
    report: RecordResult,
    *,
    refund_id: UUID | None = None,
) -> UUID:
    """Write down a success that none of our requests asked for, and what follows from it."""
    transaction_id = await add_transaction(
        session,
        change,
        book,
        kind,
        amount,
        status=TransactionStatus.SUCCEEDED,
        refund_id=refund_id,
        provider_reference=report.provider_reference,
    )
    await succeeded(session, change, books, book, transaction_id, report)
    return transaction_id
