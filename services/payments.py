"""Payments: asked for at placement or later, captured as goods leave, released when nothing more will.

Nothing here calls a provider. A request is a transaction row and an event; a job
made of the event asks the provider and reports back through `transactions.py`.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from db.base import new_id
from db.engine import Session
from db.orders import OrderLine
from db.payments import Payment, PaymentTransaction
from domain.access import Principal
from domain.errors import InvalidInput, Refused
from domain.events import EventType
from domain.money import require_amount
from domain.order_commands import PaymentIntent
from domain.orders import ENDED, CollectedBy, ReleaseGate
from domain.payment_commands import (
    CapturePayment,
    RequestPayment,
    ResumePayment,
    VoidPayment,
    check_request_payment,
    check_resume_payment,
)
from domain.payment_sums import (
    LIVE_AUTHORIZATION,
    PaymentFacts,
    PaymentSums,
    require_within,
    to_capture,
)
from domain.payments import (
    COLLECTORS,
    GATES,
    PAYMENT,
    PaymentMethod,
    PaymentState,
    TransactionKind,
    TransactionStatus,
)
from domain.states import transition
from services.events import Event
from services.order_changes import OrderChange, lock_order, save
from services.payment_books import (
    EXTERNAL,
    MANUAL,
    OPEN,
    WAITING,
    Book,
    add_refund,
    add_transaction,
    add_void,
    asked,
    in_currency,
    lock_payment,
    open_books,
    owed,
    received,
    settle,
    settle_transaction,
)

DEFAULT_PROVIDER = "sandbox"
"""Asked when a payment names no provider; it is not installed in production, where one must be named."""

_PROVIDERS = {
    PaymentMethod.BANK_TRANSFER: MANUAL,
    PaymentMethod.INVOICE: MANUAL,
    PaymentMethod.CASH_ON_DELIVERY: MANUAL,
    PaymentMethod.CASH: MANUAL,
    PaymentMethod.EXTERNAL: EXTERNAL,
}


async def insert_payment(
    session: Session, change: OrderChange, intent: PaymentIntent
) -> tuple[UUID, PaymentFacts]:
    """Ask for the order to be paid as `intent` says; returns the payment's id and how it stands.

    For a card or a wallet an authorisation is asked for; every other method is
    received in one step. What a marketplace collects counts as received at once:
    it answers for the money. The caller saves the change.
    """
    due = change.values.get("current_total", change.order.current_total)
    amount = amount_asked(intent, due, change.order.currency)
    payment_id, transaction_id = new_id(), new_id()
    collected = intent.method is PaymentMethod.EXTERNAL
    card = GATES[intent.method] is ReleaseGate.AUTHORIZED
    common = {
        "order_id": change.id,
        "currency": change.order.currency,
        "amount": amount,
        "created_at": change.now,
        "updated_at": change.now,
    }
    received = amount if collected else 0
    state = PaymentState.CAPTURED if collected else PaymentState.PENDING
    await session.add(
        Payment,
        [
            {
                **common,
                "id": payment_id,
                "method": intent.method,
                "provider": _PROVIDERS.get(intent.method) or intent.provider or DEFAULT_PROVIDER,
                "status": state,
                "collected_by": COLLECTORS.get(intent.method, CollectedBy.MERCHANT),
                "token": intent.token,
                "provider_reference": intent.reference,
                "authorized_amount": received,
                "captured_amount": received,
            }
        ],
    )
    await session.add(
        PaymentTransaction,
        [
            {
                **common,
                "id": transaction_id,
                "payment_id": payment_id,
                "kind": TransactionKind.AUTHORIZATION if card else TransactionKind.SALE,
                "status": TransactionStatus.SUCCEEDED if collected else TransactionStatus.PENDING,
                "settled_at": change.now if collected else None,
            }
        ],
    )
    details = {"method": intent.method, "amount": amount, "currency": change.order.currency}
    change.record(
        Event(
            type=EventType.PAYMENT_REQUESTED,
            subject_kind="PAYMENT",
            subject_id=payment_id,
            to_status=PaymentState.PENDING,
            details={**details, "transactionId": str(transaction_id)},
        )
    )
    if collected:
        change.record(
            Event(
                type=EventType.PAYMENT_CAPTURED,
                subject_kind="PAYMENT",
                subject_id=payment_id,
                from_status=PaymentState.PENDING,
                to_status=transition(PAYMENT, PaymentState.PENDING, PaymentState.CAPTURED),
                details={**details, "authorized": amount, "captured": amount},
            )
        )
    sums = PaymentSums(authorized=received, captured=received)
    return payment_id, PaymentFacts(state, sums, GATES[intent.method], amount)


def amount_asked(intent: PaymentIntent, due: int, currency: str) -> int:
    """In minor units; Refused with InvalidInput or AmountExceeded for one that is not within what is due."""
    amount = due if intent.amount is None else intent.amount
    require_amount(amount, field=("payment", "amount"), minimum=1)
    require_within(amount, due, currency, "paid", field=("payment", "amount"))
    return amount


async def request_payment(
    session: Session, command: RequestPayment, /, *, actor: Principal, now: datetime
) -> UUID:
    """A new payment for what nothing covers yet; returns its id.

    Payments that still wait for the customer (or for a transfer) give way to it.
    Refused: NotFound, VersionConflict, InvalidInput (the order has ended),
    AmountExceeded (more than is uncovered).
    """
    check_request_payment(command)
    change = await lock_order(
        session,
        command.order_id,
        actor=actor,
        now=now,
        expected_version=command.expected_version,
        field_name="orderId",
    )
    if change.order.status in ENDED:
        message = f"The order is {change.order.status}: it cannot be paid any more."
        raise Refused(InvalidInput(message=message, field=("orderId",)))
    books = await open_books(session, change)
    for book in books:
        if book.status is PaymentState.ACTION_REQUIRED or (
            book.status is PaymentState.PENDING and book.row.provider == MANUAL
        ):
            await expire_waiting(session, change, book)
    uncovered = owed(change) - sum(_covers(book) for book in books)
    amount = max(0, uncovered) if command.intent.amount is None else command.intent.amount
    if command.currency not in (None, change.order.currency):
        message = f"The order is in {change.order.currency}, not in {command.currency}."
        raise Refused(InvalidInput(message=message, field=("currencyCode",)))
    if uncovered > 0:
        require_amount(amount, field=("payment", "amount"), minimum=1)
    require_within(max(1, amount), uncovered, change.order.currency, "paid", field=("payment", "amount"))
    method = command.intent.method
    payment_id, _ = await insert_payment(
        session,
        change,
        PaymentIntent(
            method=method,
            provider=command.intent.provider,
            token=command.intent.token,
            amount=amount,
            reference=command.intent.reference,
        ),
    )
    change.values["release_gate"] = GATES[method]
    change.values["collected_by"] = COLLECTORS.get(method, CollectedBy.MERCHANT)
    await save(session, change)
    return payment_id


def _covers(book: Book) -> int:
    """What of the order this payment has brought or may still bring."""
    if book.status is PaymentState.PENDING:
        return int(book.row.amount)
    authorized = book.sums.open_authorization if book.status in LIVE_AUTHORIZATION else 0
    return book.sums.received + authorized


async def expire_waiting(session: Session, change: OrderChange, book: Book) -> None:
    """Give up a payment that nothing has come of. Its provider is still asked what became of it;
    where there is no provider to ask, what was open is closed."""
    if book.row.provider in (MANUAL, EXTERNAL):
        for transaction_id, transaction in list(book.transactions.items()):
            if transaction.status in OPEN:
                await settle_transaction(
                    session, change, book, transaction_id, TransactionStatus.FAILED, failure="Given up."
                )
    await settle(session, change, book, expired=True)


async def request_captures(session: Session, change: OrderChange, amount: int) -> None:
    """Ask for the `amount`, in minor units, that became due as goods left; called after lines were fulfilled.

    Never more is asked for than is authorised and due. Once nothing more is to leave,
    all that is due is asked for (what an earlier capture failed to bring as well),
    and what then remains of the authorisations is released.
    """
    books = await open_books(session, change)
    if not any(book.status in LIVE_AUTHORIZATION for book in books):
        return
    complete = (await session.execute(_NOTHING_OPEN, {"order_id": change.id})).scalar_one()
    so_far = sum(book.sums.received + book.sums.capture_pending for book in books)
    due = owed(change) if complete else min(so_far + amount, owed(change))
    for book, asking in zip(books, to_capture(due, [book.facts for book in books]), strict=True):
        if asking:
            transaction_id = await add_transaction(session, change, book, TransactionKind.CAPTURE, asking)
            change.record(asked(book, EventType.PAYMENT_CAPTURE_REQUESTED, transaction_id))
    if complete:
        for book in books:
            if book.status in LIVE_AUTHORIZATION:
                await add_void(session, change, book)


_NOTHING_OPEN = sa.select(
    sa.func.coalesce(
        sa.func.bool_and(OrderLine.quantity_fulfilled + OrderLine.quantity_cancelled >= OrderLine.quantity),
        sa.false(),
    )
).where(OrderLine.order_id == sa.bindparam("order_id", type_=sa.Uuid()))


async def request_void(session: Session, change: OrderChange) -> None:
    """Nothing more will be sent: release what is authorised, give up what waits, give back what is over.

    Called when an order is cancelled or expires, after its `current_total` is set in
    `change.values`. An authorisation that arrives later is released, money refunded.
    """
    books = await open_books(session, change)
    for book in books:
        if book.status in LIVE_AUTHORIZATION:
            await add_void(session, change, book)
        elif book.status in WAITING:
            await expire_waiting(session, change, book)
    await _refund_excess(session, change, books)


async def refund_excess(session: Session, change: OrderChange) -> None:
    """Ask for whatever was received beyond what the order comes to by now to be given back."""
    await _refund_excess(session, change, await open_books(session, change))


async def _refund_excess(session: Session, change: OrderChange, books: list[Book]) -> None:
    pending = sum(book.sums.refund_pending for book in books)
    excess = received(books) - pending - owed(change)
    for book in reversed(books):
        amount = min(excess, book.sums.refundable)
        if amount > 0:
            await add_refund(session, change, book, amount, reason="More was paid than the order comes to.")
            excess -= amount


async def capture_payment(
    session: Session, command: CapturePayment, /, *, actor: Principal, now: datetime
) -> UUID:
    """Ask for authorised money before, or beyond, what shipments asked for; returns the payment's id.

    Refused: NotFound, InvalidTransition (not authorised), AmountExceeded (more than
    is authorised or due).
    """
    change, books, book = await lock_payment(session, command.payment_id, actor=actor, now=now)
    if book.status not in LIVE_AUTHORIZATION:
        transition(PAYMENT, book.status, PaymentState.CAPTURED, field=("paymentId",))
    due = owed(change) - sum(other.sums.received + other.sums.capture_pending for other in books)
    limit = max(0, min(book.sums.capturable, due))
    amount = limit if command.amount is None else in_currency(command.amount, book.row.currency)
    require_within(max(1, amount), limit, book.row.currency, "captured")
    transaction_id = await add_transaction(session, change, book, TransactionKind.CAPTURE, amount)
    change.record(asked(book, EventType.PAYMENT_CAPTURE_REQUESTED, transaction_id))
    await save(session, change)
    return command.payment_id


async def void_payment(session: Session, command: VoidPayment, /, *, actor: Principal, now: datetime) -> UUID:
    """Release an authorisation, or give up a payment that waits; returns the payment's id.

    Refused: NotFound, InvalidTransition (nothing of it can be released any more).
    """
    change, _, book = await lock_payment(session, command.payment_id, actor=actor, now=now)
    if book.status in WAITING:
        await expire_waiting(session, change, book)
    elif book.status in LIVE_AUTHORIZATION and book.sums.voidable:
        await add_void(session, change, book)
    elif not book.sums.void_pending:
        transition(PAYMENT, book.status, PaymentState.VOIDED, field=("paymentId",))
        message = "All of the authorisation is being captured: nothing is left to release."
        raise Refused(InvalidInput(message=message, field=("paymentId",)))
    await save(session, change)
    return command.payment_id


async def resume_payment(
    session: Session, command: ResumePayment, /, *, actor: Principal, now: datetime
) -> UUID:
    """Pass on what the customer came back with: the provider is asked at once. Returns the payment's id.

    Refused: NotFound, InvalidInput (the payment does not wait for the customer).
    """
    check_resume_payment(command)
    change, _, book = await lock_payment(session, command.payment_id, actor=actor, now=now)
    if book.status is not PaymentState.ACTION_REQUIRED:
        message = f"The payment is {book.status}: it does not wait for the customer."
        raise Refused(InvalidInput(message=message, field=("paymentId",)))
    await session.execute(
        sa.update(Payment).where(Payment.id == book.id).values(token=command.answer, updated_at=now)
    )
    for transaction_id, transaction in book.transactions.items():
        if transaction.status in OPEN:
            change.record(
                asked(book, EventType.PAYMENT_REQUESTED, transaction_id, method=book.row.method, resumed=True)
            )
    await save(session, change)
    return command.payment_id
