"""Fulfillment orders: the lines of an order that one location is asked to send."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from db.base import Base, CreatedAt, Id, Quantity, UpdatedAt, check, foreign, not_negative
from domain.fulfillment import FulfillmentOrderStatus, RequestStatus


class FulfillmentOrder(Base):
    __tablename__ = "fulfillment_order"

    id: Mapped[Id]
    order_id: Mapped[UUID] = foreign("orders.id", index=True)
    location_id: Mapped[UUID] = foreign("location.id")
    status: Mapped[FulfillmentOrderStatus]
    request_status: Mapped[RequestStatus]
    replaces_id: Mapped[UUID | None] = foreign("fulfillment_order.id")
    fulfill_at: Mapped[datetime | None]
    reject_reason: Mapped[str | None]
    note: Mapped[str | None]  # what its location said last, in words; events tell no free text
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (
        sa.Index(None, "location_id", "status", "created_at", "id"),
        sa.Index(None, "status", "created_at", "id"),
        sa.Index(None, "request_status", "created_at", "id"),
        sa.Index(None, "created_at", "id"),
        sa.Index(None, "updated_at", "id"),
    )


class FulfillmentOrderLine(Base):
    """`quantity` = to send; `quantity_shipped` left; `quantity_short` and `quantity_cancelled` never will."""

    __tablename__ = "fulfillment_order_line"

    id: Mapped[Id]
    fulfillment_order_id: Mapped[UUID] = foreign("fulfillment_order.id", index=True)
    order_line_id: Mapped[UUID] = foreign("order_line.id", index=True)
    product_id: Mapped[UUID]  # its order line's, which is checked
    quantity: Mapped[int]
    quantity_picked: Mapped[Quantity]
    quantity_shipped: Mapped[Quantity]
    quantity_short: Mapped[Quantity]
    quantity_cancelled: Mapped[Quantity]

    __table_args__ = (
        check("quantity > 0", "quantity"),
        not_negative("quantity_picked", "quantity_shipped", "quantity_short", "quantity_cancelled"),
        check("quantity_shipped + quantity_short + quantity_cancelled <= quantity", "quantities"),
    )
