"""The relay: committed outbox rows get their positions in the event log.

Positions are dense and final: they are given by one mover at a time, to rows that
are committed already. The order is that of outbox ids, and within an aggregate
that is the order of versions: an id is drawn while the aggregate's row lock is
held, so the next writer draws a larger one, and whoever sees an event committed
sees all earlier ones of its aggregate committed too.
"""

from __future__ import annotations

from enum import Enum

import sqlalchemy as sa

from db.engine import Session
from db.events import EventLog, Outbox, Relay

BATCH = 1000
"""Rows moved in one transaction; at most this many wait for a lost one to be redone."""


class Idle(Enum):
    """Why nothing was moved."""

    EMPTY = "EMPTY"
    TAKEN = "TAKEN"  # another mover is at it


_FENCE = sa.select(Relay.position).with_for_update(skip_locked=True)


def _move() -> sa.Select[int]:
    due = sa.select(Outbox.id).order_by(Outbox.id).limit(sa.bindparam("limit", type_=sa.Integer())).cte("due")
    moved = sa.delete(Outbox).where(Outbox.id == due.c.id).returning(Outbox.__table__).cte("moved")
    names = [column.name for column in EventLog.__table__.c if column.name not in ("position", "logged_at")]
    position = sa.bindparam("position", type_=sa.BigInteger()) + sa.func.row_number().over(
        order_by=moved.c.id
    )
    logged = (
        sa.insert(EventLog)
        .from_select(
            ["position", *names],
            sa.select(position, *(moved.c[name] for name in names)),
            include_defaults=False,
        )
        .returning(EventLog.position)
        .cte("logged")
    )
    advanced = (
        sa.update(Relay)
        .values(position=Relay.position + sa.select(sa.func.count()).select_from(logged).scalar_subquery())
        .where(sa.exists().select_from(logged))
        .returning(Relay.position)
        .cte("advanced")
    )
    return sa.select(advanced.c.position)


_MOVE = _move()


async def move(session: Session, limit: int = BATCH) -> int | Idle:
    """Move what is committed, at most `limit` rows, in the caller's transaction.

    Returns how many were moved. The relay's one row, locked until the commit, is the
    fence between processes: whoever does not get it does not wait for it.
    """
    position = (await session.execute(_FENCE)).scalar_one_or_none()
    if position is None:
        return Idle.TAKEN
    advanced = (await session.execute(_MOVE, {"position": position, "limit": limit})).scalar_one_or_none()
    return Idle.EMPTY if advanced is None else advanced - position


_WAITING = sa.select(sa.exists().select_from(Outbox))


async def is_waiting(session: Session) -> bool:
    """Whether there is anything to move; asked before the lock is taken, because a lock is a write."""
    return bool((await session.execute(_WAITING)).scalar_one())
