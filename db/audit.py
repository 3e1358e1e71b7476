"""Who did what, from where and when: rows that are only ever added.

Triggers refuse every change of them. They hold ids and accounts, never what was written.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from db.base import Base, Id
from domain.access import PrincipalKind
from domain.audit import AuditOutcome


class AuditEntry(Base):
    """One call of a mutation. DONE is written by the transaction that did it, REFUSED shortly after."""

    __tablename__ = "audit_entry"

    id: Mapped[Id]  # time-ordered
    occurred_at: Mapped[datetime]
    account: Mapped[str]
    kind: Mapped[PrincipalKind]
    credential: Mapped[str | None]  # which key, or the id of the token
    action: Mapped[str]  # the root field
    outcome: Mapped[AuditOutcome]
    error: Mapped[str | None]  # the code of the first user error
    entity_id: Mapped[UUID | None]  # what was made or changed, the first of several
    address: Mapped[str | None]  # of staff and partners only
    request_id: Mapped[str | None]

    __table_args__ = (
        sa.Index(None, "account", "id"),
        sa.Index(
            "ix_audit_entry_entity", "entity_id", "id", postgresql_where=sa.text("entity_id is not null")
        ),
    )
