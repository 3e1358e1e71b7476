"""What callers send about payments and refunds."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import strawberry

from domain.errors import InvalidInput, Refused
from domain.ids import Prefix, parse_id
from domain.money import require_currency
from domain.payment_commands import (
    CapturePayment,
    CreateRefund,
    RecordPayment,
    ReportPayment,
    RequestPayment,
    ResumePayment,
    VoidPayment,
)
from domain.payments import ReportKind
from schema import enums  # noqa: F401 - registers the enumerations that fields name
from schema.money import MoneyInput
from schema.order_inputs import PaymentInput
from schema.plan import BigInt


@strawberry.input(description="A new payment for an order: after a decline, an expiry, or by another method.")
class PaymentRequestInput:
    order_id: strawberry.ID
    payment: PaymentInput = strawberry.field(
        description="How it is to be paid; by default everything that no other payment covers."
    )
    currency_code: str | None = strawberry.field(
        default=None, description="ISO 4217; needed with an amount, and must be the order's."
    )
    expected_version: BigInt | None = strawberry.field(
        default=None, description="The order's version as you read it; refused when it has changed."
    )

    def to_command(self) -> RequestPayment:
        currency = self.currency_code
        if currency is not None:
            require_currency(currency, field=("currencyCode",))
        elif self.payment.amount is not None:
            message = "Say in which currency the amount is."
            raise Refused(InvalidInput(message=message, field=("currencyCode",)))
        return RequestPayment(
            order_id=parse_id(self.order_id, Prefix.ORDER, field=("orderId",)),
            intent=self.payment.to_intent(currency or "", "payment"),
            currency=currency,
            expected_version=self.expected_version,
        )


@strawberry.input(description="Money received by hand: a transfer, cash, a cheque.")
class PaymentRecordInput:
    payment_id: strawberry.ID
    amount: MoneyInput
    reference: str | None = strawberry.field(
        default=None,
        description="The statement's or till's own reference: with it, the same money recorded twice counts once.",
    )

    def to_command(self) -> RecordPayment:
        return RecordPayment(
            payment_id=_payment(self.payment_id),
            amount=self.amount.to_money("amount"),
            reference=self.reference,
        )


@strawberry.input(description="Which payment's authorisation to take money from.")
class PaymentCaptureInput:
    payment_id: strawberry.ID
    amount: MoneyInput | None = strawberry.field(default=None, description="By default all that is due.")

    def to_command(self) -> CapturePayment:
        amount = self.amount.to_money("amount") if self.amount is not None else None
        return CapturePayment(payment_id=_payment(self.payment_id), amount=amount)


@strawberry.input(description="Which payment to release or give up.")
class PaymentVoidInput:
    payment_id: strawberry.ID

    def to_command(self) -> VoidPayment:
        return VoidPayment(payment_id=_payment(self.payment_id))


@strawberry.input(description="What the customer came back with from the provider's page.")
class PaymentResumeInput:
    payment_id: strawberry.ID
    answer: str = strawberry.field(
        description='As the provider sent it; the sandbox takes "approve" and "decline".'
    )

    def to_command(self) -> ResumePayment:
        return ResumePayment(payment_id=_payment(self.payment_id), answer=self.answer)


@strawberry.input(
    description="A provider's or marketplace's report of what has happened. Facts are recorded always."
)
class PaymentReportInput:
    payment_id: strawberry.ID
    kind: ReportKind
    reference: str = strawberry.field(
        description="Your own name for this report, unique among those on the payment: reported ten times, it "
        "counts once."
    )
    succeeded: bool = strawberry.field(
        default=True, description="False says that what we asked for failed; `failure` says why."
    )
    amount: MoneyInput | None = strawberry.field(
        default=None, description="What it came to; may be left out where it answers a request of ours."
    )
    transaction_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="The request of ours that it answers; by default the only open one of its kind.",
    )
    expires_at: datetime | None = strawberry.field(
        default=None, description="Until when an authorisation can be captured."
    )
    failure: str | None = None

    def to_command(self) -> ReportPayment:
        transaction_id = None
        if self.transaction_id is not None:
            transaction_id = parse_id(
                self.transaction_id, Prefix.PAYMENT_TRANSACTION, field=("transactionId",)
            )
        return ReportPayment(
            payment_id=_payment(self.payment_id),
            kind=self.kind,
            reference=self.reference,
            succeeded=self.succeeded,
            amount=self.amount.to_money("amount") if self.amount is not None else None,
            transaction_id=transaction_id,
            expires_at=self.expires_at,
            failure=self.failure,
        )


@strawberry.input(
    description="Money to give back: of one payment, or of all of an order's, the latest first."
)
class RefundCreateInput:
    order_id: strawberry.ID | None = None
    payment_id: strawberry.ID | None = None
    amount: MoneyInput | None = strawberry.field(
        default=None, description="By default all that can be given back."
    )
    return_id: strawberry.ID | None = strawberry.field(
        default=None, description="The return of this order that it is for."
    )
    reason: str | None = None

    def to_command(self) -> CreateRefund:
        return CreateRefund(
            order_id=parse_id(self.order_id, Prefix.ORDER, field=("orderId",)) if self.order_id else None,
            payment_id=_payment(self.payment_id) if self.payment_id else None,
            amount=self.amount.to_money("amount") if self.amount is not None else None,
            return_id=parse_id(self.return_id, Prefix.RETURN, field=("returnId",))
            if self.return_id
            else None,
            reason=self.reason,
        )


def _payment(global_id: str) -> UUID:
    return parse_id(global_id, Prefix.PAYMENT, field=("paymentId",))
