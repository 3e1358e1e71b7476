"""Orders, their lines, adjustments, tax lines and holds."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from db.base import (
    Amount,
    Base,
    CreatedAt,
    Currency,
    Flag,
    Id,
    JSONObject,
    Metadata,
    PrivateMetadata,
    Quantity,
    UpdatedAt,
    Version,
    check,
    foreign,
    not_negative,
)
from domain.orders import (
    AdjustmentKind,
    CollectedBy,
    FulfillmentStatus,
    HoldReason,
    OrderStatus,
    Origin,
    PaymentStatus,
    ReleaseGate,
    ReturnStatus,
)


class Order(Base):
    """An order. Money is in minor units of `currency`; roll-ups are derived by one rule, never set.

    `version` counts the events of the order and of its documents, densely: whoever
    changes any of them locks this row first.
    """

    __tablename__ = "orders"

    id: Mapped[Id]
    channel_id: Mapped[UUID] = foreign("channel.id")
    number: Mapped[str]
    status: Mapped[OrderStatus]
    payment_status: Mapped[PaymentStatus]
    fulfillment_status: Mapped[FulfillmentStatus]
    return_status: Mapped[ReturnStatus]
    on_hold: Mapped[Flag]
    origin: Mapped[Origin]
    customer_id: Mapped[UUID | None] = foreign("customer.id")
    company_id: Mapped[UUID | None] = foreign("company.id")
    sales_representative: Mapped[str | None]
    email: Mapped[str | None]
    phone: Mapped[str | None]
    shipping_address: Mapped[JSONObject] = mapped_column(server_default=sa.text("'{}'::jsonb"))
    billing_address: Mapped[JSONObject] = mapped_column(server_default=sa.text("'{}'::jsonb"))
    note: Mapped[str | None]
    priority: Mapped[int] = mapped_column(sa.SmallInteger(), server_default="0")
    release_gate: Mapped[ReleaseGate]
    collected_by: Mapped[CollectedBy]
    currency: Mapped[Currency]
    subtotal: Mapped[Amount]  # sum of net lines, after discounts
    discount_total: Mapped[Amount]
    shipping_total: Mapped[Amount]  # net
    fee_total: Mapped[Amount]
    tax_total: Mapped[Amount]  # whether included in prices or not
    original_total: Mapped[Amount]  # frozen at placement
    current_total: Mapped[Amount]  # follows edits and cancellations
    received_total: Mapped[Amount]
    refunded_total: Mapped[Amount]
    charged_back_total: Mapped[Amount]
    credited_total: Mapped[Amount]  # owed to the customer by accepted returns
    reservation_id: Mapped[UUID | None] = foreign("reservation.id")
    replaces_return_id: Mapped[UUID | None]  # set on the replacement order of an exchange
    version: Mapped[Version]
    cancel_reason: Mapped[str | None]
    placed_at: Mapped[datetime]
    payment_due_at: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    dispatched_at: Mapped[datetime | None]  # when the last unit left, for completion without a scan
    metadata_: Mapped[Metadata]
    private_metadata: Mapped[PrivateMetadata]
    search: Mapped[str] = mapped_column(
        TSVECTOR(),
        sa.Computed(
            "to_tsvector('simple', number || ' ' || coalesce(email, '') || ' ' "
            "|| coalesce(shipping_address ->> 'name', ''))",
            persisted=True,
        ),
    )
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (
        sa.UniqueConstraint("channel_id", "number"),
        sa.Index("ix_orders_placed_at", "placed_at", "id"),
        sa.Index("ix_orders_updated_at", "updated_at", "id"),
        sa.Index("ix_orders_total", "current_total", "id"),
        sa.Index("ix_orders_channel", "channel_id", "placed_at", "id"),
        sa.Index("ix_orders_status", "status", "placed_at", "id"),
        sa.Index("ix_orders_payment_status", "payment_status", "placed_at", "id"),
        sa.Index(
            "ix_orders_fulfillment_status",
            "fulfillment_status",
            "placed_at",
            "id",
            # No need for those: the newest orders are the one, nearly all others the other.
            postgresql_where=sa.text(
                "fulfillment_status <> 'UNFULFILLED' and fulfillment_status <> 'FULFILLED'"
            ),
        ),
        sa.Index(
            "ix_orders_return_status",
            "return_status",
            "placed_at",
            "id",
            postgresql_where=sa.text("return_status <> 'NONE'"),
        ),
        sa.Index("ix_orders_origin", "origin", "placed_at", "id"),
        sa.Index("ix_orders_on_hold", "on_hold", "placed_at", "id"),
        sa.Index("ix_orders_channel_updated", "channel_id", "updated_at", "id"),  # partners poll by it
        sa.Index("ix_orders_customer", "customer_id", "placed_at", "id"),
        sa.Index(
            "ix_orders_company",
            "company_id",
            "placed_at",
            "id",
            postgresql_where=sa.text("company_id is not null"),
        ),
        sa.Index("ix_orders_number", "number"),
        sa.Index("ix_orders_search", "search", postgresql_using="gin"),
        sa.Index(
            "ix_orders_payment_due",
            "payment_due_at",
            postgresql_where=sa.text("status = 'PENDING' and payment_due_at is not null"),
        ),
        sa.Index(
            "ix_orders_awaiting_completion",
            "dispatched_at",
            postgresql_where=sa.text("status = 'PROCESSING' and dispatched_at is not null"),
        ),
        not_negative(
            "shipping_total",
            "discount_total",
            "received_total",
            "refunded_total",
            "charged_back_total",
            "credited_total",
            "current_total",
            "original_total",
        ),
    )


class OrderLine(Base):
    """A line. Its units are, at any time, cancelled, unallocated, allocated, backordered or fulfilled."""

    __tablename__ = "order_line"

    id: Mapped[Id]
    order_id: Mapped[UUID] = foreign("orders.id")
    line_number: Mapped[int]
    product_id: Mapped[UUID] = foreign("product.id", index=True)
    sku: Mapped[str]
    name: Mapped[str]
    external_id: Mapped[str | None]
    quantity: Mapped[int]
    quantity_cancelled: Mapped[Quantity]
    quantity_allocated: Mapped[Quantity]
    quantity_backordered: Mapped[Quantity]
    quantity_fulfilled: Mapped[Quantity]
    quantity_returned: Mapped[Quantity]
    currency: Mapped[Currency]
    unit_price: Mapped[Amount]
    discount_total: Mapped[Amount]
    net_total: Mapped[Amount]
    tax_total: Mapped[Amount]
    gross_total: Mapped[Amount]
    refunded_total: Mapped[Amount]  # of this line, pending refunds included
    metadata_: Mapped[Metadata]
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        sa.UniqueConstraint("order_id", "line_number"),
        check("quantity between 1 and 1000000", "quantity"),
        not_negative(
            "quantity_cancelled",
            "quantity_allocated",
            "quantity_backordered",
            "quantity_fulfilled",
            "quantity_returned",
        ),
        check(
            "quantity_cancelled + quantity_allocated + quantity_backordered + quantity_fulfilled <= quantity",
            "quantities",
        ),
        check("quantity_returned <= quantity_fulfilled", "returned"),
        check("net_total + tax_total = gross_total", "gross"),
    )


class OrderAdjustment(Base):
    """A discount, a fee or a shipping charge, on one line or on the whole order."""

    __tablename__ = "order_adjustment"

    id: Mapped[Id]
    order_id: Mapped[UUID] = foreign("orders.id", index=True)
    order_line_id: Mapped[UUID | None] = foreign("order_line.id")
    kind: Mapped[AdjustmentKind]
    code: Mapped[str | None]
    label: Mapped[str]
    currency: Mapped[Currency]
    amount: Mapped[Amount]
    created_at: Mapped[CreatedAt]


class OrderTaxLine(Base):
    """A tax as a provider or partner worked it out when the order was placed; never recalculated."""

    __tablename__ = "order_tax_line"

    id: Mapped[Id]
    order_id: Mapped[UUID] = foreign("orders.id", index=True)
    order_line_id: Mapped[UUID | None] = foreign("order_line.id")
    kind: Mapped[str]
    jurisdiction: Mapped[str | None]
    currency: Mapped[Currency]
    base_amount: Mapped[Amount]
    rate: Mapped[str] = mapped_column(sa.Numeric(9, 6))
    amount: Mapped[Amount]
    included: Mapped[Flag]
    created_at: Mapped[CreatedAt]


class OrderHold(Base):
    """A reason the order must not go to a warehouse; it is held until every hold is released."""

    __tablename__ = "order_hold"

    id: Mapped[Id]
    order_id: Mapped[UUID] = foreign("orders.id", index=True)
    reason: Mapped[HoldReason]
    note: Mapped[str | None]
    placed_by: Mapped[str]
    placed_at: Mapped[datetime]
    released_by: Mapped[str | None]
    released_at: Mapped[datetime | None]
