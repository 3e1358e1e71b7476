"""Discrepancies: reports of fact that no transition fits, kept for staff to resolve."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id, JSONObject, foreign
from domain.discrepancies import DiscrepancyKind, DiscrepancyStatus


class Discrepancy(Base):
    __tablename__ = "discrepancy"

    id: Mapped[Id]
    kind: Mapped[DiscrepancyKind]
    status: Mapped[DiscrepancyStatus]
    order_id: Mapped[UUID | None] = foreign("orders.id", index=True)
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    report: Mapped[str]  # names the report, so that its repetition is recorded once
    details: Mapped[JSONObject] = mapped_column(server_default=sa.text("'{}'::jsonb"))
    resolution: Mapped[str | None]
    resolved_by: Mapped[str | None]
    resolved_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        sa.UniqueConstraint("subject_id", "kind", "report"),
        sa.Index(None, "created_at", "id"),
    )
