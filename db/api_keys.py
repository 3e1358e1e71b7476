"""API keys of partners. Only digests of their secrets are kept."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id, UpdatedAt, check


class ApiKey(Base):
    """Who a partner's system is, and what its requests may do. Up to two secrets are live at once.

    `channels` and `locations` of NULL are unbounded. `digest` is the SHA-256 of the newest secret;
    `previous_digest` that of the one before, until `previous_ends_at`.
    """

    __tablename__ = "api_key"

    id: Mapped[Id]
    name: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(sa.Text()))
    channels: Mapped[list[UUID] | None] = mapped_column(ARRAY(sa.Uuid()))
    locations: Mapped[list[UUID] | None] = mapped_column(ARRAY(sa.Uuid()))
    digest: Mapped[bytes]
    rotated_at: Mapped[datetime | None]
    previous_digest: Mapped[bytes | None]
    previous_ends_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    created_by: Mapped[str]
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[str | None]
    last_used_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (
        check("octet_length(digest) = 32", "digest"),
        check("(previous_digest is null) = (previous_ends_at is null)", "previous"),
        sa.Index(None, "name", "id"),
        sa.Index(None, "created_at", "id"),
    )
