"""Payments, their transactions with providers, and refunds."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Amount, Base, CreatedAt, Currency, Id, JSONObject, UpdatedAt, check, foreign, not_negative
from domain.orders import CollectedBy
from domain.payments import (
    PaymentMethod,
    PaymentState,
    RefundStatus,
    TransactionKind,
    TransactionStatus,
)


class Payment(Base):
    """One way an order is paid. Sums are derived from its transactions, in minor units."""

    __tablename__ = "payment"

    id: Mapped[Id]
    order_id: Mapped[UUID] = foreign("orders.id", index=True)
    method: Mapped[PaymentMethod]
    provider: Mapped[str]
    status: Mapped[PaymentState]
    collected_by: Mapped[CollectedBy]
    currency: Mapped[Currency]
    amount: Mapped[Amount]
    authorized_amount: Mapped[Amount]
    captured_amount: Mapped[Amount]
    voided_amount: Mapped[Amount]
    refunded_amount: Mapped[Amount]
    charged_back_amount: Mapped[Amount]
    token: Mapped[str | None]  # what the provider needs to authorise; never shown
    provider_reference: Mapped[str | None]
    instructions: Mapped[JSONObject | None]
    failure: Mapped[str | None]
    authorization_expires_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (
        not_negative(
            "amount",
            "authorized_amount",
            "captured_amount",
            "voided_amount",
            "refunded_amount",
            "charged_back_amount",
        ),
        sa.Index(
            "ix_payment_authorization_expires",
            "authorization_expires_at",
            postgresql_where=sa.text("status in ('AUTHORIZED', 'PARTIALLY_CAPTURED')"),
        ),
        sa.Index(None, "provider", "provider_reference"),
    )


class PaymentTransaction(Base):
    """One request to, or report from, a provider. Its id is the provider's idempotency key."""

    __tablename__ = "payment_transaction"

    id: Mapped[Id]
    payment_id: Mapped[UUID] = foreign("payment.id", index=True)
    order_id: Mapped[UUID] = mapped_column(index=True)  # its payment's, which is checked
    kind: Mapped[TransactionKind]
    status: Mapped[TransactionStatus]
    currency: Mapped[Currency]
    amount: Mapped[Amount]
    refund_id: Mapped[UUID | None] = foreign("refund.id")
    provider_reference: Mapped[str | None]
    failure: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    settled_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (
        check("amount >= 0", "amount"),
        sa.Index(
            "ix_payment_transaction_open",
            "created_at",
            postgresql_where=sa.text("status in ('PENDING', 'UNKNOWN')"),
        ),
    )


class Refund(Base):
    """Money to give back from one payment; may precede the inspection of a return."""

    __tablename__ = "refund"

    id: Mapped[Id]
    order_id: Mapped[UUID] = foreign("orders.id", index=True)
    payment_id: Mapped[UUID] = foreign("payment.id", index=True)
    return_id: Mapped[UUID | None] = foreign("returns.id", index=True)
    status: Mapped[RefundStatus]
    currency: Mapped[Currency]
    amount: Mapped[Amount]
    reason: Mapped[str | None]
    failure: Mapped[str | None]
    settled_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (check("amount > 0", "amount"),)
