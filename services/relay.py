"""How events get their positions in the log.

Positions are dense and final: they are given under the lock of the relay's one row,
which lasts until the COMMIT. Whoever holds it is the only one to give any, and nobody
waits for it.

A transaction whose last statement finds that row free and the outbox empty logs its
events itself. It holds its aggregates' row locks, so that earlier events of theirs are
committed, and being in no outbox they are in the log. Otherwise the events go to the
outbox, and the relay moves them once they are committed, in the order of outbox ids. Within an
aggregate that is the order of versions: an id is drawn while the aggregate's row lock
is held, so the next writer draws a larger one, and whoever sees an event committed
sees all earlier ones of its aggregate committed too.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa

from db import statements
from db.engine import Session
from db.events import EventLog, Outbox, Relay
from db.session import Closing
from services import feed

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
        .returning(*feed.matched())
        .cte("logged")
    )
    last = sa.select(sa.func.max(logged.c.position).label("position")).subquery("last")
    advanced = (
        sa.update(Relay).values(position=last.c.position).where(last.c.position.is_not(None)).cte("advanced")
    )
    return sa.select(logged).order_by(logged.c.position).add_cte(advanced)


MOVE = _move()
"""Moves what is committed, at most `:limit` rows, and returns `feed.MATCHED` of them in their new order.

No row: nothing waits, or another mover is at it. The relay's one row, locked until the
commit, is the fence between processes: whoever does not get it does not wait for it.
"""


async def move(session: Session, limit: int = BATCH) -> int:
    """`MOVE` in the caller's transaction; returns how many rows were moved."""
    return len((await session.execute(MOVE, {"limit": limit})).all())


_MATCHED = str(sa.insert(EventLog).returning(*feed.matched()).compile(dialect=statements.DIALECT))


@cache
def _logged_at_once(how: statements.Insertion) -> str:
    """Inserts what was meant for the outbox, where it need not wait there; returns `feed.MATCHED` of what is logged."""
    names = ", ".join(how.names)
    given = ", ".join(f"given.{name}" for name in how.names)
    return f"""WITH given AS MATERIALIZED (SELECT {names}, row_number() OVER () AS place FROM {how.rows}),
        fence AS (
            SELECT position FROM relay WHERE NOT EXISTS (SELECT FROM outbox) FOR UPDATE SKIP LOCKED
        ),
        logged AS (
            INSERT INTO event_log (position, created_at, {names})
            SELECT fence.position + given.place, now(), {given} FROM given, fence
            RETURNING {_MATCHED.partition(" RETURNING ")[2]}
        ),
        advanced AS (
            UPDATE relay SET position = fence.position + (SELECT count(*) FROM given) FROM fence
        ),
        kept AS (
            INSERT INTO outbox ({names})
            SELECT {names} FROM given WHERE NOT EXISTS (SELECT FROM fence) ORDER BY place
        )
        SELECT * FROM logged ORDER BY position"""


AT_ONCE: Closing = {Outbox.__tablename__: _logged_at_once}
"""For the last statement of a transaction that holds its aggregates' locks and commits next."""
