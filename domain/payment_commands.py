"""What callers ask of payments and refunds, and report of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain import text
from domain.checks import Checks
from domain.money import Money
from domain.order_commands import PaymentIntent
from domain.payments import ReportKind

MAX_ANSWER = 4_000
"""Characters of what a provider's page may send back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPayment:
    """Ask for an order to be paid (again): after a decline, an expiry, or with another method.

    `currency` is that of the intent's amount, where it states one.
    """

    order_id: UUID
    intent: PaymentIntent
    currency: str | None = None
    expected_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturePayment:
    """Take authorised money; `amount` None is all that is due."""

    payment_id: UUID
    amount: Money | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidPayment:
    payment_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumePayment:
    """The customer has acted: `answer` is what the provider's page sent back."""

    payment_id: UUID
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPayment:
    """Money received by hand: a transfer, cash, a cheque.

    `reference` is the statement's or till's own; with it, the same money recorded
    twice counts once.
    """

    payment_id: UUID
    amount: Money
    reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPayment:
    """A provider's report. `transaction_id` names our request where the reporter knows it.

    `succeeded` False says that the request failed. `amount` may be left out where a
    request of ours is meant.
    """

    payment_id: UUID
    kind: ReportKind
    reference: str
    succeeded: bool = True
    amount: Money | None = None
    transaction_id: UUID | None = None
    expires_at: datetime | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRefund:
    """Give money back: of one payment, or of all of an order's, the latest first.

    `amount` None is all that can be refunded.
    """

    order_id: UUID | None = None
    payment_id: UUID | None = None
    amount: Money | None = None
    return_id: UUID | None = None
    reason: str | None = None


def check_request_payment(command: RequestPayment) -> None:
    """Refused with what is wrong with the form of it."""
    checks = Checks()
    intent = command.intent
    checks.that(
        intent.amount is None or command.currency is not None,
        "Say in which currency the amount is.",
        "currencyCode",
    )
    checks.currency(command.currency, "currencyCode")
    checks.code(intent.provider, "payment", "provider")
    checks.text(intent.token, MAX_ANSWER, "payment", "token")
    checks.text(intent.reference, text.MAX_EXTERNAL_ID, "payment", "reference")
    checks.refuse()


def check_resume_payment(command: ResumePayment) -> None:
    checks = Checks()
    checks.text(command.answer, MAX_ANSWER, "answer")
    checks.refuse()


def check_record_payment(command: RecordPayment) -> None:
    checks = Checks()
    checks.text(command.reference, text.MAX_EXTERNAL_ID, "reference")
    checks.refuse()


def check_report_payment(command: ReportPayment) -> None:
    checks = Checks()
    checks.text(command.reference, text.MAX_EXTERNAL_ID, "reference")
    checks.text(command.failure, text.MAX_NOTE, "failure", multiline=True)
    checks.refuse()


def check_create_refund(command: CreateRefund) -> None:
    checks = Checks()
    checks.that(
        (command.order_id is None) is not (command.payment_id is None),
        "Name the order or one of its payments, and not both.",
        "orderId",
    )
    checks.text(command.reason, text.MAX_NOTE, "reason", multiline=True)
    checks.refuse()
