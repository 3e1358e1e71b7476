"""Payments, their transactions with providers and refunds, as the API shows them and takes them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from strawberry.scalars import JSON

from db import payments as tables
from domain.access import Scope
from domain.actions import PAYMENT_ACTIONS, Fact
from domain.orders import CollectedBy
from domain.payments import PaymentMethod, PaymentState, RefundStatus, TransactionKind, TransactionStatus
from schema import enums  # noqa: F401 - registers the enumerations that fields name
from schema.actions import actions_of
from schema.plan import Money, Node, column, expression, many, money, one, planned

if TYPE_CHECKING:  # named by fields; resolved when the schema is built
    from schema.orders import Order
    from schema.returns import Return


def payment_actions(payment: Any) -> sa.ColumnElement[Any]:
    refund = tables.Refund.__table__.alias()
    under_way = (
        sa.select(sa.func.coalesce(sa.func.sum(refund.c.amount), 0))
        .where(refund.c.payment_id == payment.id, refund.c.status == RefundStatus.PENDING)
        .scalar_subquery()
    )
    received = payment.captured_amount - payment.refunded_amount - payment.charged_back_amount
    return actions_of(
        PAYMENT_ACTIONS,
        payment.status,
        {
            Fact.CAPTURABLE: payment.authorized_amount > payment.captured_amount + payment.voided_amount,
            Fact.REFUNDABLE: received > under_way,
            Fact.BY_HAND: payment.provider == "manual",
            Fact.ASKED: payment.provider.not_in(("manual", "external")),
        },
    )


@planned(
    tables.Payment,
    node="pay",
    scope=Scope.PAYMENTS_READ,
    description=(
        "One way an order is paid. Its sums are those of its transactions; an order that is declined gets a new "
        "payment. The token that authorises it is never shown."
    ),
)
class Payment(Node):
    method: PaymentMethod = column(tables.Payment.method, "How it is paid.")
    provider: str = column(
        tables.Payment.provider,
        'Who is asked for the money; "manual": people record it; "external": a marketplace reports it.',
    )
    status: PaymentState = column(tables.Payment.status, "Where it stands.")
    collected_by: CollectedBy = column(tables.Payment.collected_by, "Who takes the customer's money.")
    amount: Money = money(tables.Payment.amount, tables.Payment.currency, "What was asked for.")
    authorized_amount: Money = money(
        tables.Payment.authorized_amount, tables.Payment.currency, "What the provider has authorised in all."
    )
    captured_amount: Money = money(
        tables.Payment.captured_amount, tables.Payment.currency, "What has been received in all."
    )
    voided_amount: Money = money(
        tables.Payment.voided_amount, tables.Payment.currency, "What of the authorisation was released."
    )
    refunded_amount: Money = money(
        tables.Payment.refunded_amount, tables.Payment.currency, "What has been given back in all."
    )
    charged_back_amount: Money = money(
        tables.Payment.charged_back_amount, tables.Payment.currency, "What the bank took back."
    )
    provider_reference: str | None = column(
        tables.Payment.provider_reference, "What the provider calls this payment."
    )
    instructions: JSON | None = column(
        tables.Payment.instructions,
        "What the customer must do while it is ACTION_REQUIRED: a page to confirm on, a PIX code, a bank slip, an "
        "account to transfer to. Its `kind` says which.",
    )
    failure: str | None = column(tables.Payment.failure, "Why the provider last refused something.")
    authorization_expires_at: datetime | None = column(
        tables.Payment.authorization_expires_at,
        "Until when the authorisation can be captured; after it the order is held until it is paid anew.",
    )
    available_actions: list[str] = expression(
        payment_actions, "Mutations that its status permits now, whether or not you have the scope for them."
    )
    created_at: datetime = column(tables.Payment.created_at, "When it was asked for.")
    updated_at: datetime = column(tables.Payment.updated_at, "When anything about it last changed.")
    order: Order = one(
        "Order", lambda payment, order: order.id == payment.order_id, "Its order.", visible_with_parent=True
    )
    transactions: list[PaymentTransaction] = many(
        "PaymentTransaction",
        lambda payment, transaction: transaction.payment_id == payment.id,
        order_by=lambda transaction: (transaction.id,),
        description="Everything its provider was asked for or reported, the oldest first.",
        size=3,
    )
    refunds: list[Refund] = many(
        "Refund",
        lambda payment, refund: refund.payment_id == payment.id,
        order_by=lambda refund: (refund.id,),
        description="What of it was given back, or is to be.",
        size=1,
    )


@planned(
    tables.PaymentTransaction,
    node="ptx",
    scope=Scope.PAYMENTS_READ,
    description=(
        "One request to a provider, or one report of it. Its id is the provider's idempotency key: asked twice, it "
        "is done once. UNKNOWN means that the answer was lost; the provider is asked until it is known."
    ),
)
class PaymentTransaction(Node):
    kind: TransactionKind = column(tables.PaymentTransaction.kind, "What was asked for or reported.")
    status: TransactionStatus = column(tables.PaymentTransaction.status, "What became of it.")
    amount: Money = money(
        tables.PaymentTransaction.amount,
        tables.PaymentTransaction.currency,
        "What was asked for; once it is settled, what it came to.",
    )
    provider_reference: str | None = column(
        tables.PaymentTransaction.provider_reference, "What the provider, or whoever reported it, calls it."
    )
    failure: str | None = column(tables.PaymentTransaction.failure, "Why it failed.")
    attempts: int = column(tables.PaymentTransaction.attempts, "How often the provider has been asked.")
    settled_at: datetime | None = column(
        tables.PaymentTransaction.settled_at, "When its outcome became known; null while it is open."
    )
    created_at: datetime = column(tables.PaymentTransaction.created_at, "When it was asked for.")
    payment: Payment = one(
        "Payment",
        lambda transaction, payment: payment.id == transaction.payment_id,
        "Its payment.",
        visible_with_parent=True,
    )
    refund: Refund | None = one(
        "Refund",
        lambda transaction, refund: refund.id == transaction.refund_id,
        "The refund that it pays out.",
        visible_with_parent=True,
    )


@planned(
    tables.Refund,
    node="rfd",
    scope=Scope.PAYMENTS_READ,
    description="Money given back from one payment, or to be. One that FAILED may be asked for anew.",
)
class Refund(Node):
    status: RefundStatus = column(tables.Refund.status, "What became of it.")
    amount: Money = money(tables.Refund.amount, tables.Refund.currency, "How much; always positive.")
    reason: str | None = column(tables.Refund.reason, "Why it is given back.")
    failure: str | None = column(tables.Refund.failure, "Why the provider refused.")
    settled_at: datetime | None = column(tables.Refund.settled_at, "When it was paid out, or refused.")
    created_at: datetime = column(tables.Refund.created_at, "When it was asked for.")
    updated_at: datetime = column(tables.Refund.updated_at, "When it last changed.")
    order: Order = one(
        "Order", lambda refund, order: order.id == refund.order_id, "Its order.", visible_with_parent=True
    )
    payment: Payment = one(
        "Payment",
        lambda refund, payment: payment.id == refund.payment_id,
        "The payment that it comes from.",
        visible_with_parent=True,
    )
    for_return: Return | None = one(
        "Return",
        lambda refund, found: found.id == refund.return_id,
        "The return that it is for.",
    )
