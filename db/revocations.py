"""Tokens that are refused before they end, and the counter that tells every process to look again."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id
from domain.revocations import RevokedKind


class Revocation(Base):
    """A token by its id (`jti`), or every token of a subject (`sub`) that was issued by `created_at`."""

    __tablename__ = "revocation"

    id: Mapped[Id]
    kind: Mapped[RevokedKind]
    value: Mapped[str]
    reason: Mapped[str | None]
    revoked_by: Mapped[str]
    ends_at: Mapped[datetime | None]  # when the token has expired by itself, and this may be forgotten
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        sa.Index(None, "kind", "value"),
        sa.Index(None, "created_at", "id"),
    )


class AccessVersion(Base):
    """One row. Every change that takes access away raises it, in its own transaction.

    Processes poll it. Times or ids would not do: a transaction that commits late is then
    older than what has been seen; this row's lock makes the order of versions that of commits.
    """

    __tablename__ = "access_version"

    one: Mapped[bool] = mapped_column(primary_key=True, server_default=sa.true())
    version: Mapped[int] = mapped_column(sa.BigInteger(), server_default="0")

    __table_args__ = (sa.CheckConstraint("one", name="single_row"),)


RAISE = sa.update(AccessVersion).values(version=AccessVersion.version + 1)
