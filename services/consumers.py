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
_MADE = insert(Consumer).on_conflict_do_nothing()
_FENCE = (
    sa.select(Consumer.position, sa.select(Relay.position).scalar_subquery().label("head"))
    .where(Consumer.name == sa.bindparam("name", type_=sa.Text()))
    .with_for_update(of=Consumer, skip_locked=True)
)
_UNTIL = sa.bindparam("until", type_=sa.BigInteger())
_READ = (
    sa.select(EventLog.position, EventLog.type, EventLog.subject_id, EventLog.details)
    .where(
        EventLog.position > sa.bindparam("after", type_=sa.BigInteger()),
        EventLog.position <= _UNTIL,
        EventLog.type.in_((*_ASKING, EventType.STOCK_CHANGED)),
    )
    .order_by(EventLog.position)
)
_IDS = sa.bindparam("ids", type_=ARRAY(sa.Uuid()))
_STILL_OPEN = sa.select(PaymentTransaction.id).where(
    PaymentTransaction.id == sa.any_(_IDS),
    PaymentTransaction.status.in_((TransactionStatus.PENDING, TransactionStatus.UNKNOWN)),
)
_WAITED_FOR = sa.select(Backorder.stock_level_id).where(Backorder.stock_level_id == sa.any_(_IDS)).distinct()


async def consume(session: Session, enqueue: Enqueue, *, name: str = CONSUMER, limit: int = BATCH) -> int:
    """Make jobs of the next `limit` positions; how many positions were passed (0: none, or a rival reads)."""
    fence = (await session.execute(_FENCE, {"name": name})).one_or_none()
    if fence is None:
        await session.execute(_MADE, {"name": name})
        return 0
    until = min(fence.position + limit, fence.head)
    if until <= fence.position:
        return 0
    events = (await session.execute(_READ, {"after": fence.position, "until": until})).all()
    jobs = [*await _provider_calls(session, events), *await _backorders(session, events)]
    if jobs:
        await enqueue(session, jobs)
    await session.execute(
        sa.update(Consumer).where(Consumer.name == name).values(position=until, updated_at=sa.func.now())
    )
    return int(until - fence.position)


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
    risen = {event.subject_id for event in events if event.type is EventType.STOCK_CHANGED and _rose(event)}
    if not risen:
        return []
    waited_for = (await session.execute(_WAITED_FOR, {"ids": sorted(risen)})).scalars().all()
    # The position is part of the name: a job for this level that runs already may have looked too early.
    at = events[-1].position
    return [
        Job(JobKind.BACKORDERS, level_id, f"{JobKind.BACKORDERS}:{level_id}:{at}") for level_id in waited_for
    ]


def _rose(event: Any) -> bool:
    """Whether there may be more to promise: goods came in, or somebody gave up a claim."""
    change = event.details.get("change", {})
    return bool(
        change.get("sellable", 0) > 0 or change.get("allocated", 0) < 0 or change.get("reserved", 0) < 0
    )
