"""Import runs: how far each file has come, so that a cut import goes on where it stopped."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id, Quantity, UpdatedAt
from domain.imports import ImportKind, ImportStatus


class ImportRun(Base):
    """One import of one file by one map. `position` counts the records whose batches have been committed."""

    __tablename__ = "import_run"

    id: Mapped[Id]
    kind: Mapped[ImportKind]
    digest: Mapped[str]  # of the file, of those it is joined with and of the map
    file_name: Mapped[str]
    status: Mapped[ImportStatus]
    position: Mapped[int] = mapped_column(sa.BigInteger(), server_default="0")
    rejects_length: Mapped[int] = mapped_column(
        sa.BigInteger(), server_default="0"
    )  # bytes of the rejects file
    created: Mapped[Quantity]
    changed: Mapped[Quantity]
    unchanged: Mapped[Quantity]
    rejected: Mapped[Quantity]
    started_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        sa.Index(
            "ix_import_run_running",
            "kind",
            "digest",
            unique=True,
            postgresql_where=sa.text("status = 'RUNNING'"),
        ),
    )
