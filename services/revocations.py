"""Refusing tokens that have not expired."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from db.base import new_id
from db.engine import Session
from db.revocations import RAISE, Revocation
from domain.access import Principal
from domain.api_keys import require_unbounded_staff
from domain.revocations import RevokeToken, check_revoke


async def revoke_token(session: Session, command: RevokeToken, /, *, actor: Principal, now: datetime) -> UUID:
    """Refuse this token, or all that the subject has by now, in every process within two seconds."""
    require_unbounded_staff(actor)
    kind, value = check_revoke(command)
    revocation_id = new_id()
    await session.execute(
        sa.insert(Revocation).values(
            id=revocation_id,
            kind=kind,
            value=value,
            reason=command.reason,
            revoked_by=actor.account,
            ends_at=command.ends_at,
            created_at=now,
        )
    )
    await session.execute(RAISE)
    return revocation_id
