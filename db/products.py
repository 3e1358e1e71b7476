"""Products, one row a SKU, and the price lists that price them."""

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
    Metadata,
    PrivateMetadata,
    UpdatedAt,
    Version,
    check,
    foreign,
)


class Product(Base):
    __tablename__ = "product"

    id: Mapped[Id]
    sku: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    barcode: Mapped[str | None]
    tax_class: Mapped[str | None]
    weight_grams: Mapped[int | None]
    cost_amount: Mapped[int | None] = mapped_column(sa.BigInteger())
    cost_currency: Mapped[str | None] = mapped_column(sa.CHAR(3))
    backorderable: Mapped[Flag]
    active: Mapped[bool] = mapped_column(server_default=sa.true())
    metadata_: Mapped[Metadata]
    private_metadata: Mapped[PrivateMetadata]
    search: Mapped[str] = mapped_column(
        TSVECTOR(),
        sa.Computed("to_tsvector('simple', sku || ' ' || name)", persisted=True),
    )
    version: Mapped[Version]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (
        sa.Index(None, "name", "id"),
        sa.Index(None, "created_at", "id"),
        sa.Index(None, "updated_at", "id"),
        sa.Index("ix_product_search", "search", postgresql_using="gin"),
        check("(cost_amount is null) = (cost_currency is null)", "cost_has_currency"),
    )


class PriceList(Base):
    """Prices of one currency, for one channel or (channel_id null) for all of that currency."""

    __tablename__ = "price_list"

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    currency: Mapped[Currency]
    channel_id: Mapped[UUID | None] = foreign("channel.id", index=True)
    valid_from: Mapped[datetime | None]
    valid_until: Mapped[datetime | None]
    active: Mapped[bool] = mapped_column(server_default=sa.true())
    version: Mapped[Version]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]


class Price(Base):
    """What one unit costs from `minimum_quantity` units of a line on, in the list's currency."""

    __tablename__ = "price"

    id: Mapped[Id]
    price_list_id: Mapped[UUID] = foreign("price_list.id")
    product_id: Mapped[UUID] = foreign("product.id", index=True)
    minimum_quantity: Mapped[int] = mapped_column(server_default="1")
    amount: Mapped[Amount]
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (
        sa.UniqueConstraint("price_list_id", "product_id", "minimum_quantity"),
        check("amount >= 0 and amount <= 1000000000000000", "amount"),
        check("minimum_quantity between 1 and 1000000", "minimum_quantity"),
    )
