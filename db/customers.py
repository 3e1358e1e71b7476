"""Customers and the companies some of them buy for."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id, JSONObject, Metadata, PrivateMetadata, UpdatedAt, Version, foreign


class Company(Base):
    __tablename__ = "company"

    id: Mapped[Id]
    name: Mapped[str]
    tax_number: Mapped[str | None]
    metadata_: Mapped[Metadata]
    version: Mapped[Version]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (sa.Index(None, "updated_at", "id"),)


class Customer(Base):
    __tablename__ = "customer"

    id: Mapped[Id]
    company_id: Mapped[UUID | None] = foreign("company.id", index=True)
    name: Mapped[str]
    email: Mapped[str | None]
    phone: Mapped[str | None]
    address: Mapped[JSONObject] = mapped_column(server_default=sa.text("'{}'::jsonb"))
    locale: Mapped[str | None]
    metadata_: Mapped[Metadata]
    private_metadata: Mapped[PrivateMetadata]
    search: Mapped[str] = mapped_column(
        TSVECTOR(),
        sa.Computed("to_tsvector('simple', name || ' ' || coalesce(email, ''))", persisted=True),
    )
    erased_at: Mapped[datetime | None]  # when the person was taken out; the row stays for its orders
    version: Mapped[Version]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (
        sa.Index(None, "email"),
        sa.Index(None, "name", "id"),
        sa.Index(None, "created_at", "id"),
        sa.Index(None, "updated_at", "id"),
        sa.Index("ix_customer_search", "search", postgresql_using="gin"),
    )
