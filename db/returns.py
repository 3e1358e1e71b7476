"""Returns, with or without an order, and their lines."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from db.base import (
    Amount,
    Base,
    CreatedAt,
    Currency,
    Id,
    Metadata,
    Quantity,
    UpdatedAt,
    Version,
    check,
    foreign,
    not_negative,
)
from domain.returns import CustomerReturnStatus, Disposition, ReturnReason, ReturnState


class Return(Base):
    """A return (RMA). A return of an order shares the order's channel, customer and event versions."""

    __tablename__ = "returns"

    id: Mapped[Id]
    order_id: Mapped[UUID | None] = foreign("orders.id", index=True)
    channel_id: Mapped[UUID] = foreign("channel.id")
    customer_id: Mapped[UUID | None] = foreign("customer.id", index=True)
    location_id: Mapped[UUID | None] = foreign("location.id")
    status: Mapped[ReturnState]
    customer_status: Mapped[CustomerReturnStatus]
    note: Mapped[str | None]
    decline_reason: Mapped[str | None]
    tracking_number: Mapped[str | None]
    version: Mapped[Version]  # of returns without an order
    requested_at: Mapped[datetime]
    approved_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    metadata_: Mapped[Metadata]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (
        sa.Index(None, "requested_at", "id"),
        sa.Index(None, "updated_at", "id"),
        sa.Index(None, "status", "requested_at", "id"),
        sa.Index(None, "channel_id", "requested_at", "id"),
        sa.Index("ix_returns_expires", "expires_at", postgresql_where=sa.text("status = 'OPEN'")),
    )


class ReturnLine(Base):
    __tablename__ = "return_line"

    id: Mapped[Id]
    return_id: Mapped[UUID] = foreign("returns.id", index=True)
    order_line_id: Mapped[UUID | None] = foreign("order_line.id", index=True)
    product_id: Mapped[UUID] = foreign("product.id")
    reason: Mapped[ReturnReason]
    note: Mapped[str | None]
    quantity_expected: Mapped[int]
    quantity_received: Mapped[Quantity]
    quantity_accepted: Mapped[Quantity]
    quantity_rejected: Mapped[Quantity]
    disposition: Mapped[Disposition | None]
    currency: Mapped[Currency]
    refund_amount: Mapped[Amount]

    __table_args__ = (
        check("quantity_expected > 0", "expected"),
        not_negative("quantity_received", "quantity_accepted", "quantity_rejected", "refund_amount"),
        check("quantity_accepted + quantity_rejected <= quantity_received", "inspected"),
    )
