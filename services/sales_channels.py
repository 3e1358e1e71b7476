"""The channel a caller sells through."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row

from db import visibility
from db.channels import Channel
from db.engine import Session
from domain.access import Principal, VisibilityClass
from domain.errors import InvalidInput, Refused
from services.order_changes import not_found


@lru_cache(maxsize=256)
def _channel_statement(caller: VisibilityClass) -> sa.Select[Any]:
    table = Channel.__table__
    return sa.select(table).where(
        table.c.id == sa.bindparam("id", type_=sa.Uuid()), visibility.predicate("channel", table, caller)
    )


async def load_channel(session: Session, channel_id: UUID, actor: Principal) -> Row[Any]:
    """The channel to sell through, if it is active and the actor may see it."""
    statement = _channel_statement(VisibilityClass.of(actor))
    parameters = {"id": channel_id, **visibility.values(actor)}
    row: Row[Any] | None = (await session.execute(statement, parameters)).one_or_none()
    if row is None:
        raise not_found("chn", channel_id, "channelId")
    if not row.active:
        message = f"The channel {row.code} is not active: it takes no new orders."
        raise Refused(InvalidInput(message=message, field=("channelId",)))
    return row
