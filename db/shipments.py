"""Shipments, the parcels they consist of, and what carriers report of them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from db.base import Base, CreatedAt, Id, Metadata, UpdatedAt, check, foreign
from domain.shipments import CarrierEventKind, DeliveryStatus, ShipmentStatus


class Shipment(Base):
    __tablename__ = "shipment"

    id: Mapped[Id]
    order_id: Mapped[UUID] = foreign("orders.id", index=True)
    fulfillment_order_id: Mapped[UUID | None] = foreign("fulfillment_order.id", index=True)
    location_id: Mapped[UUID] = foreign("location.id")
    status: Mapped[ShipmentStatus]
    delivery_status: Mapped[DeliveryStatus | None]
    carrier: Mapped[str | None]
    service: Mapped[str | None]
    cancel_reason: Mapped[str | None]
    shipped_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    metadata_: Mapped[Metadata]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (
        sa.Index(None, "created_at", "id"),
        sa.Index(None, "updated_at", "id"),
        sa.Index(None, "status", "created_at", "id"),
        sa.Index(None, "delivery_status", "created_at", "id"),
        sa.Index(None, "carrier", "created_at", "id"),
        sa.Index(None, "location_id", "created_at", "id"),
    )


class ShipmentLine(Base):
    __tablename__ = "shipment_line"

    id: Mapped[Id]
    shipment_id: Mapped[UUID] = foreign("shipment.id", index=True)
    order_line_id: Mapped[UUID] = foreign("order_line.id", index=True)
    fulfillment_order_line_id: Mapped[UUID | None] = foreign("fulfillment_order_line.id")
    product_id: Mapped[UUID]  # its order line's, which is checked
    quantity: Mapped[int]

    __table_args__ = (check("quantity > 0", "quantity"),)


class Package(Base):
    """A parcel. `delivery_status` folds its carrier events, whatever the order they arrived in."""

    __tablename__ = "package"

    id: Mapped[Id]
    shipment_id: Mapped[UUID] = foreign("shipment.id", index=True)
    carrier: Mapped[str | None]
    tracking_number: Mapped[str | None]
    tracking_url: Mapped[str | None]
    weight_grams: Mapped[int | None]
    delivery_status: Mapped[DeliveryStatus | None]
    delivered_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (
        sa.Index(
            "ix_package_tracking",
            "tracking_number",
            "carrier",
            postgresql_where=sa.text("tracking_number is not null"),
        ),
    )


class CarrierEvent(Base):
    """One report of a carrier on one parcel, kept once however often it is sent."""

    __tablename__ = "carrier_event"

    id: Mapped[Id]
    package_id: Mapped[UUID] = foreign("package.id")
    partner_event_id: Mapped[str]
    kind: Mapped[CarrierEventKind]
    occurred_at: Mapped[datetime]
    place: Mapped[str | None]
    description: Mapped[str | None]
    created_at: Mapped[CreatedAt]

    __table_args__ = (sa.UniqueConstraint("package_id", "partner_event_id"),)
