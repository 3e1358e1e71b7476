"""Stock: levels by bucket, the ledger behind them, and every claim on them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id, Quantity, UpdatedAt, Version, check, foreign, not_negative
from domain.reservations import ReservationOwner, ReservationStatus
from domain.stock import Bucket, MovementKind, StockOwner


class StockLevel(Base):
    """One SKU at one location of one owner: what is there, and what of it is promised.

    `sellable`, `damaged`, `quarantine` and `display` are physical (each the sum of
    its movements); `allocated`, `reserved` and `backordered` are claims (each the
    sum of its owners). The row is the lock that serialises promises on it.
    """

    __tablename__ = "stock_level"

    id: Mapped[Id]
    product_id: Mapped[UUID] = foreign("product.id")
    location_id: Mapped[UUID] = foreign("location.id")
    owner: Mapped[StockOwner] = mapped_column(server_default="OWN")
    sellable: Mapped[Quantity]
    damaged: Mapped[Quantity]
    quarantine: Mapped[Quantity]
    display: Mapped[Quantity]
    allocated: Mapped[Quantity]
    reserved: Mapped[Quantity]
    backordered: Mapped[Quantity]
    safety_stock: Mapped[Quantity]
    version: Mapped[Version]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (
        sa.UniqueConstraint("product_id", "location_id", "owner"),
        sa.Index(None, "location_id", "product_id"),
        not_negative(
            "sellable",
            "damaged",
            "quarantine",
            "display",
            "allocated",
            "reserved",
            "backordered",
            "safety_stock",
        ),
        check("sellable >= allocated + reserved", "promises_kept"),
        # Updated by every order of its SKU: room in the page, and no index on a column that
        # changes, keep those updates heap-only.
        {"postgresql_with": {"fillfactor": "50"}},
    )


class StockMovement(Base):
    """A row of the ledger: `quantity` units entered (or, negative, left) a bucket. Never changed."""

    __tablename__ = "stock_movement"

    id: Mapped[Id]
    stock_level_id: Mapped[UUID] = foreign("stock_level.id")
    product_id: Mapped[UUID] = foreign("product.id")
    location_id: Mapped[UUID] = foreign("location.id")
    bucket: Mapped[Bucket]
    quantity: Mapped[int]
    kind: Mapped[MovementKind]
    order_id: Mapped[UUID | None]
    reference: Mapped[str | None]
    note: Mapped[str | None]
    actor: Mapped[str]
    occurred_at: Mapped[datetime]
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        sa.Index(None, "stock_level_id", "bucket"),
        sa.Index(None, "stock_level_id", "id"),
        sa.Index("ix_stock_movement_order_id", "order_id", postgresql_where=sa.text("order_id is not null")),
        check("quantity <> 0", "moves"),
    )


class Allocation(Base):
    """Units of one stock level committed to one order line until they leave or are cancelled."""

    __tablename__ = "allocation"

    id: Mapped[Id]
    order_id: Mapped[UUID] = mapped_column(index=True)  # its line's, which is checked
    order_line_id: Mapped[UUID] = foreign("order_line.id")
    stock_level_id: Mapped[UUID] = foreign("stock_level.id", index=True)
    location_id: Mapped[UUID]  # its stock level's, which is checked
    quantity: Mapped[int]
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        sa.UniqueConstraint("order_line_id", "stock_level_id"),
        check("quantity > 0", "quantity"),
    )


class Backorder(Base):
    """Units promised from stock that has yet to arrive at one stock level; the oldest is served first."""

    __tablename__ = "backorder"

    id: Mapped[Id]
    order_id: Mapped[UUID] = foreign("orders.id", index=True)
    order_line_id: Mapped[UUID] = foreign("order_line.id")
    stock_level_id: Mapped[UUID] = foreign("stock_level.id", index=True)
    quantity: Mapped[int]
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        sa.UniqueConstraint("order_line_id", "stock_level_id"),
        check("quantity > 0", "quantity"),
    )


class Reservation(Base):
    """A checkout's or a quote's claim, which expires."""

    __tablename__ = "reservation"

    id: Mapped[Id]
    channel_id: Mapped[UUID] = foreign("channel.id")
    owner: Mapped[ReservationOwner]
    reference: Mapped[str | None]
    status: Mapped[ReservationStatus]
    order_id: Mapped[UUID | None]
    expires_at: Mapped[datetime]
    version: Mapped[Version]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (
        sa.Index("ix_reservation_expires_at", "expires_at", postgresql_where=sa.text("status = 'ACTIVE'")),
    )


class ReservationLine(Base):
    __tablename__ = "reservation_line"

    id: Mapped[Id]
    reservation_id: Mapped[UUID] = foreign("reservation.id", index=True)
    stock_level_id: Mapped[UUID] = foreign("stock_level.id", index=True)
    product_id: Mapped[UUID] = foreign("product.id")
    quantity: Mapped[int]

    __table_args__ = (check("quantity > 0", "quantity"),)
