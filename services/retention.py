"""What is forgotten, and when: idempotency keys, cursors, and changes of stock that no timeline shows.

Events of orders, shipments, returns and the like live as long as what they are about.
The log holds them beside changes of stock levels, of which there are more than of
everything else, and which are only ever read through a cursor. So old cursors expire
first (`relay.horizon` rises), and what only they would have led to is deleted after
every process has had time to see it.
"""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db.engine import Session
from db.events import Consumer, EventLog, Relay
from db.idempotency import IdempotencyKey
from domain.events import AggregateKind

FORGETTER = "retention"
"""The consumer whose position is how far the log has been cleared."""

NOTICED_WITHIN = timedelta(seconds=30)
"""Processes look at the horizon every few seconds; nobody reads below it after this long."""

WINDOW = 20_000
"""Positions by which the horizon rises at a time."""

BATCH = 5_000
"""Positions cleared in one transaction."""

_KEPT = sa.bindparam("kept", type_=sa.Interval())
_EXPIRED_KEYS = (
    sa.select(IdempotencyKey.account, IdempotencyKey.key)
    .where(IdempotencyKey.created_at < sa.func.now() - _KEPT)
    .limit(sa.bindparam("limit", type_=sa.Integer()))
    .with_for_update(skip_locked=True)
    .cte("expired")
)
_REAP = (
    sa.delete(IdempotencyKey)
    .where(IdempotencyKey.account == _EXPIRED_KEYS.c.account, IdempotencyKey.key == _EXPIRED_KEYS.c.key)
    .returning(IdempotencyKey.key)
)


async def reap_keys(session: Session, kept: timedelta, limit: int = 1000) -> int:
    """Forget idempotency keys older than `kept`, at most `limit`; returns how many."""
    return len((await session.execute(_REAP, {"kept": kept, "limit": limit})).all())


_IS_BEGUN = sa.select(sa.exists().where(Consumer.name == FORGETTER))
_BEGIN = insert(Consumer).values(name=FORGETTER).on_conflict_do_nothing()
_FENCE = (
    sa.select(
        Consumer.position,
        (Consumer.updated_at < sa.func.now() - sa.bindparam("noticed_within", type_=sa.Interval())).label(
            "noticed"
        ),
        sa.select(Relay.horizon).scalar_subquery().label("horizon"),
        # Nobody who makes jobs of events is overtaken; they are never far behind.
        sa.select(sa.func.min(Consumer.position))
        .where(Consumer.name != FORGETTER)
        .correlate(None)
        .scalar_subquery()
        .label("read_by_all"),
    )
    .where(Consumer.name == FORGETTER)
    .with_for_update(of=Consumer, skip_locked=True)
)
_window = (
    sa.select(EventLog.position, EventLog.logged_at)
    .where(
        EventLog.position > sa.bindparam("horizon", type_=sa.BigInteger()),
        EventLog.position <= sa.bindparam("read_by_all", type_=sa.BigInteger()),
    )
    .order_by(EventLog.position)
    .limit(WINDOW)
    .subquery("window")
)
_OLD = sa.select(sa.func.max(_window.c.position)).where(_window.c.logged_at < sa.func.now() - _KEPT)
_RAISE = sa.update(Relay).values(horizon=sa.bindparam("raised", type_=sa.BigInteger()))
_RAISED = sa.update(Consumer).where(Consumer.name == FORGETTER).values(updated_at=sa.func.now())
_CLEAR = sa.delete(EventLog).where(
    EventLog.position > sa.bindparam("after", type_=sa.BigInteger()),
    EventLog.position <= sa.bindparam("until", type_=sa.BigInteger()),
    EventLog.aggregate_kind == AggregateKind.STOCK_LEVEL,
)
_CLEARED = (
    sa.update(Consumer)
    .where(Consumer.name == FORGETTER)
    .values(position=sa.bindparam("until", type_=sa.BigInteger()))
)


async def forget_events(
    session: Session, kept: timedelta, noticed_within: timedelta = NOTICED_WITHIN
) -> bool:
    """One step: raise the horizon over events older than `kept`, or clear what lies below it.

    True when there is more to do at once. A row, locked, lets one process at a time do it;
    killed at any line, the next one goes on.
    """
    row = (await session.execute(_FENCE, {"noticed_within": noticed_within})).one_or_none()
    if row is None:
        # Looked for before it is made: where a rival is at work on it, an insert would wait.
        if not (await session.execute(_IS_BEGUN, {})).scalar_one():
            await session.execute(_BEGIN, {})
            return True
        return False
    if row.read_by_all is None:
        return False
    if row.position < row.horizon:
        if not row.noticed:
            return False
        until = min(row.horizon, row.position + BATCH)
        await session.execute(_CLEAR, {"after": row.position, "until": until})
        await session.execute(_CLEARED, {"until": until})
        return True
    raised = (
        await session.execute(_OLD, {"horizon": row.horizon, "read_by_all": row.read_by_all, "kept": kept})
    ).scalar_one_or_none()
    if raised is not None:
        await session.execute(_RAISE, {"raised": raised})
        await session.execute(_RAISED, {})
    return False
