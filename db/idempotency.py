"""Idempotency keys and discrepancies: what makes a second attempt, or a late report, harmless."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt


class IdempotencyKey(Base):
    """Taken first in its transaction; `outcome` (ids, not a rendered answer) is written before the commit."""

    __tablename__ = "idempotency_key"

    account: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(sa.LargeBinary())
    outcome: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    finished_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]

    __table_args__ = (sa.Index(None, "created_at"),)
