"""Channels: where orders come from, and the rules a channel sets for its orders."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from db.base import (
    Base,
    CreatedAt,
    Currency,
    Flag,
    Id,
    Metadata,
    PrivateMetadata,
    UpdatedAt,
    Version,
    check,
    foreign,
)
from domain.invoices import InvoiceRequirement
from domain.orders import ChannelKind, CollectedBy, PricingAuthority, ReleaseGate


class Channel(Base):
    __tablename__ = "channel"

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    kind: Mapped[ChannelKind]
    currency: Mapped[Currency]
    pricing_authority: Mapped[PricingAuthority]
    prices_include_tax: Mapped[Flag]
    collected_by: Mapped[CollectedBy]
    release_gate: Mapped[ReleaseGate]
    invoice_required_before: Mapped[InvoiceRequirement] = mapped_column(server_default="NONE")
    payment_due_minutes: Mapped[int] = mapped_column(server_default="60")
    completes_after_days: Mapped[int] = mapped_column(server_default="30")
    stock_buffer: Mapped[int] = mapped_column(server_default="0")
    order_number_prefix: Mapped[str] = mapped_column(server_default="")
    active: Mapped[bool] = mapped_column(server_default=sa.true())
    metadata_: Mapped[Metadata]
    private_metadata: Mapped[PrivateMetadata]
    version: Mapped[Version]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (
        check("payment_due_minutes between 1 and 525600", "payment_due_minutes"),
        check("completes_after_days between 1 and 365", "completes_after_days"),
        check("stock_buffer between 0 and 1000000", "stock_buffer"),
    )


class ChannelLocation(Base):
    """Which locations serve a channel, the lowest rank first."""

    __tablename__ = "channel_location"

    channel_id: Mapped[UUID] = mapped_column(sa.ForeignKey("channel.id"), primary_key=True)
    location_id: Mapped[UUID] = mapped_column(sa.ForeignKey("location.id"), primary_key=True, index=True)
    rank: Mapped[int] = mapped_column(server_default="0")


class ExternalId(Base):
    """What a partner's system calls one of our entities; unique per kind, system and channel."""

    __tablename__ = "external_id"

    id: Mapped[Id]
    entity_kind: Mapped[str]
    entity_id: Mapped[UUID]
    system: Mapped[str]
    channel_id: Mapped[UUID | None] = foreign("channel.id")
    external_id: Mapped[str]
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        sa.UniqueConstraint(
            "entity_kind", "system", "channel_id", "external_id", postgresql_nulls_not_distinct=True
        ),
        sa.Index(None, "entity_id"),
    )
