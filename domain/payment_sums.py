"""What a payment's transactions amount to, and what may still be asked of its provider.

We never ask to capture more than is authorised and due, nor to refund (pending
included) more than was received. What a provider reports is always added up,
even beyond that; the surplus is a discrepancy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from domain.errors import AmountExceeded, Refused
from domain.money import format_amount
from domain.orders import BalanceStatus, PaymentStatus, ReleaseGate
from domain.payments import PaymentState, TransactionKind, TransactionStatus

_OPEN = (TransactionStatus.PENDING, TransactionStatus.UNKNOWN)
_ASKING = (TransactionKind.AUTHORIZATION, TransactionKind.SALE)
LIVE_AUTHORIZATION = frozenset({PaymentState.AUTHORIZED, PaymentState.PARTIALLY_CAPTURED})
"""Payments whose authorisation can still be captured."""

TRUSTED_GATES = frozenset({ReleaseGate.TERMS, ReleaseGate.ON_DELIVERY, ReleaseGate.MARKETPLACE})
"""The customer's credit, the carrier or the marketplace answers for the money: goods go before it comes."""

GIVEN_UP = frozenset({PaymentState.VOIDED, PaymentState.EXPIRED, PaymentState.FAILED})
"""Payments that nobody answers for any more."""


@dataclass(frozen=True, slots=True)
class Transaction:
    kind: TransactionKind
    status: TransactionStatus
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentSums:
    """Minor units by what has succeeded, and by what is still asked for (`…_pending`)."""

    authorized: int = 0
    captured: int = 0
    voided: int = 0
    refunded: int = 0
    charged_back: int = 0
    capture_pending: int = 0
    void_pending: int = 0
    refund_pending: int = 0

    @property
    def received(self) -> int:
        """What is left of the captured money after refunds and chargebacks."""
        return self.captured - self.refunded - self.charged_back

    @property
    def open_authorization(self) -> int:
        """Authorised and neither captured nor released."""
        return max(0, self.authorized - self.captured - self.voided)

    @property
    def capturable(self) -> int:
        """What a capture may ask for; nothing while a release is under way."""
        return 0 if self.void_pending else max(0, self.open_authorization - self.capture_pending)

    @property
    def voidable(self) -> int:
        return max(0, self.open_authorization - self.capture_pending - self.void_pending)

    @property
    def refundable(self) -> int:
        return max(0, self.received - self.refund_pending)


def add_up(transactions: Iterable[Transaction]) -> PaymentSums:
    """The sums of a payment's transactions. A SALE is authorised and captured at once."""
    done = dict.fromkeys(TransactionKind, 0)
    asked = dict.fromkeys(TransactionKind, 0)
    for transaction in transactions:
        if transaction.status is TransactionStatus.SUCCEEDED:
            done[transaction.kind] += transaction.amount
        elif transaction.status in _OPEN:
            asked[transaction.kind] += transaction.amount
    return PaymentSums(
        authorized=done[TransactionKind.AUTHORIZATION] + done[TransactionKind.SALE],
        captured=done[TransactionKind.CAPTURE] + done[TransactionKind.SALE],
        voided=done[TransactionKind.VOID],
        refunded=done[TransactionKind.REFUND],
        charged_back=done[TransactionKind.CHARGEBACK],
        capture_pending=asked[TransactionKind.CAPTURE],
        void_pending=asked[TransactionKind.VOID],
        refund_pending=asked[TransactionKind.REFUND],
    )


def payment_state(
    transactions: Sequence[Transaction], *, action_required: bool = False, expired: bool = False
) -> PaymentState:
    """The state that a payment's transactions put it in.

    `action_required`: the provider waits for the customer. `expired`: the payment's,
    or its authorisation's, time has run out. The caller checks the move against the
    PAYMENT table: a report that fits no arrow is a discrepancy.
    """
    sums = add_up(transactions)
    if sums.captured:
        settled = expired or not sums.open_authorization
        return PaymentState.CAPTURED if settled else PaymentState.PARTIALLY_CAPTURED
    if expired:
        return PaymentState.EXPIRED
    if sums.authorized:
        return PaymentState.AUTHORIZED if sums.open_authorization else PaymentState.VOIDED
    asking = [transaction for transaction in transactions if transaction.kind in _ASKING]
    if asking and all(transaction.status is TransactionStatus.FAILED for transaction in asking):
        return PaymentState.FAILED
    return PaymentState.ACTION_REQUIRED if action_required else PaymentState.PENDING


@dataclass(frozen=True, slots=True)
class PaymentFacts:
    """One payment of an order, oldest first where several are given.

    `amount` is what it was asked for, `gate` what money of its method opens.
    """

    state: PaymentState
    sums: PaymentSums
    gate: ReleaseGate = ReleaseGate.AUTHORIZED
    amount: int = 0

    @property
    def covered(self) -> int:
        """What of the order goods may be sent for because of this payment."""
        if self.gate in TRUSTED_GATES and self.state not in GIVEN_UP:
            return max(self.amount, self.sums.received)
        if self.gate is ReleaseGate.AUTHORIZED and self.state in LIVE_AUTHORIZATION:
            return self.sums.received + self.sums.open_authorization
        return self.sums.received


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderMoney:
    """What all payments of an order come to. `states` are theirs, oldest first.

    `authorized` is what live authorisations still hold: neither captured, voided
    nor expired; `covered` what goods may be sent for, each payment judged by its method.
    """

    captured: int = 0
    refunded: int = 0
    charged_back: int = 0
    authorized: int = 0
    covered: int = 0
    states: tuple[PaymentState, ...] = ()

    @property
    def received(self) -> int:
        return self.captured - self.refunded - self.charged_back

    @classmethod
    def of(cls, payments: Sequence[PaymentFacts]) -> OrderMoney:
        if not payments:
            return NO_MONEY
        return cls(
            captured=sum(payment.sums.captured for payment in payments),
            refunded=sum(payment.sums.refunded for payment in payments),
            charged_back=sum(payment.sums.charged_back for payment in payments),
            authorized=sum(
                payment.sums.open_authorization for payment in payments if payment.state in LIVE_AUTHORIZATION
            ),
            covered=sum(payment.covered for payment in payments),
            states=tuple(payment.state for payment in payments),
        )


NO_MONEY = OrderMoney()


def payment_status(due: int, money: OrderMoney) -> PaymentStatus:
    """An order's roll-up: `due` is its current total. The only place that decides it."""
    if money.captured:
        if money.received <= 0:
            return PaymentStatus.REFUNDED
        if money.received < money.captured:
            return PaymentStatus.PARTIALLY_REFUNDED
        return PaymentStatus.PAID if money.captured >= due else PaymentStatus.PARTIALLY_PAID
    if not money.states:
        return PaymentStatus.UNPAID if due else PaymentStatus.PAID
    if money.authorized:
        return PaymentStatus.AUTHORIZED if money.authorized >= due else PaymentStatus.PENDING
    return _before_money(money.states)


def _before_money(states: Sequence[PaymentState]) -> PaymentStatus:
    if PaymentState.PENDING in states or PaymentState.ACTION_REQUIRED in states:
        return PaymentStatus.PENDING
    return {
        PaymentState.VOIDED: PaymentStatus.VOIDED,
        PaymentState.EXPIRED: PaymentStatus.EXPIRED,
    }.get(states[-1], PaymentStatus.FAILED)


def release_gate_met(gate: ReleaseGate, due: int, money: OrderMoney) -> bool:
    """May an order of which `due` is to be paid go to a warehouse?

    Its payments must cover what is due, each by its own method; until there is one,
    `gate` is its channel's.
    """
    if not money.states:
        return gate in TRUSTED_GATES or due <= 0
    return money.covered >= due


def to_capture(due: int, payments: Sequence[PaymentFacts]) -> tuple[int, ...]:
    """What to ask each payment for so that `due` is received in all, the oldest first, never more."""
    missing = due - sum(payment.sums.received + payment.sums.capture_pending for payment in payments)
    asked = []
    for payment in payments:
        live = payment.state in LIVE_AUTHORIZATION
        amount = max(0, min(missing, payment.sums.capturable)) if live else 0
        asked.append(amount)
        missing -= amount
    return tuple(asked)


def to_refund(amount: int, payments: Sequence[PaymentFacts]) -> tuple[int, ...] | None:
    """How `amount` goes back over the payments, the latest first; None when they have not received it."""
    missing = amount
    given = [0] * len(payments)
    for index in reversed(range(len(payments))):
        given[index] = min(missing, payments[index].sums.refundable)
        missing -= given[index]
    return None if missing else tuple(given)


def require_within(
    requested: int, limit: int, currency: str, what: str, *, field: tuple[str, ...] = ("amount",)
) -> int:
    """`requested`, if it is at most `limit` minor units; else Refused(AmountExceeded)."""
    if requested <= limit:
        return requested
    asked, most = format_amount(requested, currency), format_amount(max(0, limit), currency)
    message = f"At most {most} {currency} can be {what}, not {asked}."
    raise Refused(
        AmountExceeded(message=message, field=field, requested=asked, limit=most, currency=currency)
    )


def balance(current_total: int, credited: int, received: int, refunded: int, charged_back: int) -> int:
    """What is still owed to us (negative: what we owe), in minor units."""
    return current_total - credited - received + refunded + charged_back


def balance_status(owed: int) -> BalanceStatus:
    if owed == 0:
        return BalanceStatus.SETTLED
    return BalanceStatus.DUE if owed > 0 else BalanceStatus.OVERPAID
