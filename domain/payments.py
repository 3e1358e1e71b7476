"""Payments and their transactions with providers: states and words.

What a payment's transactions add up to is a rule of `payment_sums.py`.
"""

from __future__ import annotations

from enum import StrEnum

from domain.orders import CollectedBy, ReleaseGate
from domain.states import Machine


class PaymentMethod(StrEnum):
    CARD = "CARD"
    WALLET = "WALLET"
    PIX = "PIX"
    BANK_SLIP = "BANK_SLIP"
    BANK_TRANSFER = "BANK_TRANSFER"
    INVOICE = "INVOICE"  # on terms, after delivery
    CASH_ON_DELIVERY = "CASH_ON_DELIVERY"
    CASH = "CASH"
    EXTERNAL = "EXTERNAL"  # collected by a marketplace or another system


GATES: dict[PaymentMethod, ReleaseGate] = {
    PaymentMethod.CARD: ReleaseGate.AUTHORIZED,
    PaymentMethod.WALLET: ReleaseGate.AUTHORIZED,
    PaymentMethod.PIX: ReleaseGate.CAPTURED,
    PaymentMethod.BANK_SLIP: ReleaseGate.CAPTURED,
    PaymentMethod.BANK_TRANSFER: ReleaseGate.CAPTURED,
    PaymentMethod.INVOICE: ReleaseGate.TERMS,
    PaymentMethod.CASH_ON_DELIVERY: ReleaseGate.ON_DELIVERY,
    PaymentMethod.CASH: ReleaseGate.CAPTURED,
    PaymentMethod.EXTERNAL: ReleaseGate.MARKETPLACE,
}
"""What releases an order that is paid this way to its warehouse."""

COLLECTORS: dict[PaymentMethod, CollectedBy] = {
    PaymentMethod.CASH_ON_DELIVERY: CollectedBy.CARRIER,
    PaymentMethod.EXTERNAL: CollectedBy.MARKETPLACE,
}
"""Who collects by this method where it is not the merchant."""


class PaymentState(StrEnum):
    """Where one payment stands (an order's payments together are its PaymentStatus)."""

    PENDING = "PENDING"
    ACTION_REQUIRED = "ACTION_REQUIRED"  # the customer must act: 3-D Secure, a slip, a transfer
    AUTHORIZED = "AUTHORIZED"
    PARTIALLY_CAPTURED = "PARTIALLY_CAPTURED"
    CAPTURED = "CAPTURED"  # nothing is left to capture; what was captured stays
    VOIDED = "VOIDED"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"


PAYMENT = Machine(
    "Payment",
    PaymentState,
    initial=(PaymentState.PENDING,),
    rows=(
        (PaymentState.PENDING, PaymentState.ACTION_REQUIRED, "the customer must act first"),
        (PaymentState.PENDING, PaymentState.AUTHORIZED, "authorised"),
        (PaymentState.PENDING, PaymentState.CAPTURED, "paid in one step"),
        (PaymentState.PENDING, PaymentState.EXPIRED, "not paid in time"),
        (PaymentState.PENDING, PaymentState.FAILED, "declined"),
        (PaymentState.ACTION_REQUIRED, PaymentState.AUTHORIZED, "authorised after the customer acted"),
        (PaymentState.ACTION_REQUIRED, PaymentState.CAPTURED, "paid after the customer acted"),
        (PaymentState.ACTION_REQUIRED, PaymentState.EXPIRED, "the customer did not act in time"),
        (PaymentState.ACTION_REQUIRED, PaymentState.FAILED, "declined"),
        (PaymentState.AUTHORIZED, PaymentState.PARTIALLY_CAPTURED, "a part was captured"),
        (PaymentState.AUTHORIZED, PaymentState.CAPTURED, "all was captured"),
        (PaymentState.AUTHORIZED, PaymentState.VOIDED, "released uncaptured"),
        (PaymentState.AUTHORIZED, PaymentState.EXPIRED, "the authorisation ran out uncaptured"),
        (PaymentState.PARTIALLY_CAPTURED, PaymentState.CAPTURED, "the rest was captured, voided or expired"),
    ),
)


class TransactionKind(StrEnum):
    """What a provider is asked for or reports; SALE authorises and captures at once."""

    AUTHORIZATION = "AUTHORIZATION"
    SALE = "SALE"
    CAPTURE = "CAPTURE"
    VOID = "VOID"
    REFUND = "REFUND"
    CHARGEBACK = "CHARGEBACK"


class TransactionStatus(StrEnum):
    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"  # asked, and no answer came back: the provider must be asked again


TRANSACTION = Machine(
    "PaymentTransaction",
    TransactionStatus,
    initial=(TransactionStatus.PENDING, TransactionStatus.SUCCEEDED),
    rows=(
        (TransactionStatus.PENDING, TransactionStatus.SUCCEEDED, "the provider did it"),
        (TransactionStatus.PENDING, TransactionStatus.FAILED, "the provider refused"),
        (TransactionStatus.PENDING, TransactionStatus.UNKNOWN, "the answer was lost"),
        (TransactionStatus.UNKNOWN, TransactionStatus.SUCCEEDED, "asked: the provider had done it"),
        (TransactionStatus.UNKNOWN, TransactionStatus.FAILED, "asked: the provider had not"),
    ),
)


class ReportKind(StrEnum):
    """What a provider or a marketplace reports of a payment."""

    AUTHORIZED = "AUTHORIZED"
    RECEIVED = "RECEIVED"  # paid in one step, or settled by a marketplace
    CAPTURED = "CAPTURED"
    VOIDED = "VOIDED"
    REFUNDED = "REFUNDED"
    CHARGED_BACK = "CHARGED_BACK"


REPORTED: dict[ReportKind, TransactionKind] = {
    ReportKind.AUTHORIZED: TransactionKind.AUTHORIZATION,
    ReportKind.RECEIVED: TransactionKind.SALE,
    ReportKind.CAPTURED: TransactionKind.CAPTURE,
    ReportKind.VOIDED: TransactionKind.VOID,
    ReportKind.REFUNDED: TransactionKind.REFUND,
    ReportKind.CHARGED_BACK: TransactionKind.CHARGEBACK,
}
"""The transaction that each report tells of."""


class RefundStatus(StrEnum):
    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


REFUND = Machine(
    "Refund",
    RefundStatus,
    initial=(RefundStatus.PENDING, RefundStatus.SUCCEEDED),
    rows=(
        (RefundStatus.PENDING, RefundStatus.SUCCEEDED, "paid out"),
        (RefundStatus.PENDING, RefundStatus.FAILED, "the provider refused; ask anew"),
    ),
)
