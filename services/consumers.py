"""The reader of the event log that makes jobs of what happened.

Its cursor and the jobs it makes are written in one transaction, so each event makes
its jobs exactly once. The cursor's row, locked, lets one process at a time read.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from db.engine import Session
from db.events import Consumer, EventLog, Relay
from db.payments import PaymentTransaction
from db.stock import Backorder
from domain.events import EventType
from domain.payments import TransactionStatus

CONSUMER = "jobs"
BATCH = 1000
"""Positions read in one transaction."""


class JobKind(enum.StrEnum):
    """What a job does; the names of the queue's entry points."""

    PAYMENT_TRANSACTION = "payment_transaction"  # ask a provider for something, or about it
    BACKORDERS = "backorders"  # serve who waits for stock of a level


@dataclass(frozen=True, slots=True)
class Job:
    """Work on one entity. `dedupe` names it: the queue takes a name once while it waits."""

    kind: JobKind
    subject_id: UUID
    dedupe: str


Enqueue = Callable[[Session, Sequence[Job]], Awaitable[None]]
"""Puts jobs on the queue inside the session's own transaction."""

_ASKING = (
    EventType.PAYMENT_REQUESTED,
    EventType.PAYMENT_CAPTURE_REQUESTED,
    EventType.PAYMENT_VOID_REQUESTED,
    EventType.REFUND_REQUESTED,
)
_NAME = sa.bindparam("consumer", type_=sa.Text())

_CHANGED = EventLog.details.op("->")(sa.literal_column("'change'"))
_NOTHING: sa.ColumnElement[int] = sa.literal_column("0")


def _changed(part: str) -> sa.ColumnElement[int]:
    """By how much a change of a stock level moved this part of it; null where it did not."""
    return _CHANGED.op("->>")(sa.literal_column(f"'{part}'")).cast(sa.BigInteger())


def _written(type_: EventType) -> sa.ColumnElement[str]:
    """In the text: the relay prepares its statement without values."""
    return sa.literal_column(f"'{type_}'", EventLog.type.type)


MATTERS: sa.ColumnElement[bool] = sa.or_(
    EventLog.type.in_([_written(type_) for type_ in _ASKING]),
    sa.and_(  # there may be more to promise: goods came in, or somebody gave up a claim
        EventLog.type == _written(EventType.STOCK_CHANGED),
        sa.or_(
            _changed("sellable") > _NOTHING,
            _changed("allocated") < _NOTHING,
            _changed("reserved") < _NOTHING,
        ),
    ),
)
"""Whether jobs may be made of an event."""


def _take() -> sa.Select[Any]:
    """Moves the cursor and returns where it was, where it is, and what happened in between that matters."""
    head = sa.select(Relay.position).scalar_subquery()
    fence = (  # nothing is locked when there is nothing new: a lock is a write
        sa.select(Consumer.position.label("after"), head.label("head"))
        .where(Consumer.name == _NAME, Consumer.position < head)
        .with_for_update(of=Consumer, skip_locked=True)
        .cte("fence")
    )
    until = sa.func.least(fence.c.after + sa.bindparam("limit", type_=sa.BigInteger()), fence.c.head)
    moved = (
        sa.update(Consumer)
        .values(position=until, updated_at=sa.func.now())
        .where(Consumer.name == _NAME)
        .cte("moved")
    )
    absent = sa.select(_NAME).where(~sa.exists().where(Consumer.name == _NAME))
    made = insert(Consumer).from_select(["name"], absent, include_defaults=False).on_conflict_do_nothing()
    log = EventLog.__table__.c
    return (
        sa.select(fence.c.after, until.label("until"), log.position, log.type, log.subject_id, log.details)
        .select_from(fence)
        .outerjoin(EventLog, sa.and_(log.position > fence.c.after, log.position <= until, MATTERS))
        .order_by(log.position)
        .add_cte(moved, made.cte("made"))
    )


_TAKE = _take()
_IDS = sa.bindparam("ids", type_=ARRAY(sa.Uuid()))
_STILL_OPEN = sa.select(PaymentTransaction.id).where(
    PaymentTransaction.id == sa.any_(_IDS),
    PaymentTransaction.status.in_((TransactionStatus.PENDING, TransactionStatus.UNKNOWN)),
)
_WAITED_FOR = sa.select(Backorder.stock_level_id).where(Backorder.stock_level_id == sa.any_(_IDS)).distinct()


async def consume(session: Session, enqueue: Enqueue, *, name: str = CONSUMER, limit: int = BATCH) -> int:
    """Make jobs of the next `limit` positions; how many positions were passed (0: none, or a rival reads)."""
    rows = (await session.execute(_TAKE, {"consumer": name, "limit": limit})).all()
    if not rows:
        return 0
    events = [row for row in rows if row.position is not None]
    jobs = [*await _provider_calls(session, events), *await _backorders(session, events)]
    if jobs:
        await enqueue(session, jobs)
    return int(rows[0].until - rows[0].after)


async def _provider_calls(session: Session, events: Sequence[Any]) -> list[Job]:
    wanted = {
        UUID(event.details["transactionId"]): event.position
        for event in events
        if event.type in _ASKING and "transactionId" in event.details
    }
    if not wanted:
        return []
    # Imported and long settled history asks for nothing.
    still_open = (await session.execute(_STILL_OPEN, {"ids": sorted(wanted)})).scalars().all()
    return [
        Job(
            JobKind.PAYMENT_TRANSACTION,
            transaction_id,
            f"{JobKind.PAYMENT_TRANSACTION}:{wanted[transaction_id]}",
        )
        for transaction_id in still_open
    ]


async def _backorders(session: Session, events: Sequence[Any]) -> list[Job]:
    risen = {event.subject_id for event in events if event.type is EventType.STOCK_CHANGED}
    if not risen:
        return []
    waited_for = (await session.execute(_WAITED_FOR, {"ids": sorted(risen)})).scalars().all()
    # The position is part of the name: a job for this level that runs already may have looked too early.
    at = events[-1].position
    return [
        Job(JobKind.BACKORDERS, level_id, f"{JobKind.BACKORDERS}:{level_id}:{at}") for level_id in waited_for
    ]
