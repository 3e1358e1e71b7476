"""The relay: committed outbox rows get their positions in the event log.

Positions are dense and final: they are given by one mover at a time, to rows that
are committed already. The order is that of outbox ids, and within an aggregate
that is the order of versions: an id is drawn while the aggregate's row lock is
held, so the next writer draws a larger one, and whoever sees an event committed
sees all earlier ones of its aggregate committed too.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from db.engine import Session
from db.events import EventLog, Outbox, Relay
from services import consumers, feed

BATCH = 1000
"""Rows moved at once; at most this many wait for a lost batch to be redone."""


def _move() -> sa.Select[Any]:
    row: sa.ColumnElement[Any] = sa.literal_column("outbox.ctid")  # never updated: the shortest way back
    due = (
        sa.select(row.label("row"))
        .select_from(Outbox)
        .order_by(Outbox.id)
        .limit(sa.bindparam("limit", type_=sa.Integer()))
        .cte("due")
    )
    fence = (  # nothing is locked when nothing waits: a lock is a write
        sa.select(Relay.position)
        .where(sa.exists().select_from(due))
        .with_for_update(of=Relay, skip_locked=True)
        .cte("fence")
    )
    moved = (
        sa.delete(Outbox)
        .where(
            row == sa.any_(sa.func.array(sa.select(due.c.row).scalar_subquery())),
            sa.exists().select_from(fence),
        )
        .returning(Outbox.__table__)
        .cte("moved")
    )
    names = [column.name for column in EventLog.__table__.c if column.name not in ("position", "logged_at")]
    position = fence.c.position + sa.func.row_number().over(order_by=moved.c.id)
    logged = (
        sa.insert(EventLog)
        .from_select(
            ["position", *names],
            sa.select(position, *(moved.c[name] for name in names)).join_from(moved, fence, sa.true()),
            include_defaults=False,
        )
        .returning(*feed.matched(), consumers.MATTERS.label("matters"))
        .cte("logged")
    )
    last = sa.select(sa.func.max(logged.c.position).label("position")).subquery("last")
    advanced = (
        sa.update(Relay).values(position=last.c.position).where(last.c.position.is_not(None)).cte("advanced")
    )
    return sa.select(logged).order_by(logged.c.position).add_cte(advanced)


MOVE = _move()
"""Moves what is committed, at most `:limit` rows, and returns `feed.MATCHED` of them in their new order, and whether
each `matters` to who makes jobs.

No row: nothing waits, or another mover is at it. The relay's one row, locked until the
commit, is the fence between processes: whoever does not get it does not wait for it.
"""


async def move(session: Session, limit: int = BATCH) -> int:
    """`MOVE` in the caller's transaction; returns how many rows were moved."""
    return len((await session.execute(MOVE, {"limit": limit})).all())
