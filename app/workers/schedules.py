"""What happens because time passes: each a use case of its own, safe to run anywhere twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from app.workers import queue
from app.workers.payments import PaymentJobs
from db.engine import Engine
from domain.access import SYSTEM
from domain.return_commands import ExpireReturns
from services.completion import complete_quiet_orders
from services.consumers import Job, JobKind
from services.expiry import (
    AUTHORIZATIONS_DUE,
    ORDERS_DUE,
    ExpireAuthorization,
    ExpireOrder,
    expire_authorization,
    expire_order,
)
from services.open_transactions import due_to_ask
from services.reservations import expire_reservations
from services.retention import forget_events, reap_keys
from services.returns import expire_returns
from services.unit_of_work import UnitOfWork

BATCH = 100
"""Entities looked at before the others get their turn."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """`run` does a batch and says whether there is more to do at once; else it waits `every` seconds."""

    name: str
    every: float
    run: Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what nobody needs for ever is kept. Without a time for events, cursors never expire."""

    keys: timedelta = timedelta(days=7)
    events: timedelta | None = None


def schedules(
    engine: Engine, unit_of_work: UnitOfWork, payment_jobs: PaymentJobs, retention: Retention
) -> list[Schedule]:
    """All of them, over this database."""

    async def due(statement: sa.Select[UUID]) -> list[UUID]:
        async with engine.begin() as session:
            now: datetime = (await session.execute(sa.select(sa.func.now()))).scalar_one()
            found = await session.execute(statement, {"now": now, "limit": BATCH})
            return list(found.scalars())

    async def orders() -> bool:
        found = await due(ORDERS_DUE)
        ended = [
            await unit_of_work.run(expire_order, ExpireOrder(order_id=one), actor=SYSTEM) for one in found
        ]
        # Those that do not expire (something has left of them) must not be looked at in a busy loop.
        return len(found) == BATCH and any(ended)

    async def authorizations() -> bool:
        found = await due(AUTHORIZATIONS_DUE)
        ended = [
            await unit_of_work.run(expire_authorization, ExpireAuthorization(payment_id=one), actor=SYSTEM)
            for one in found
        ]
        return len(found) == BATCH and any(ended)

    async def reservations() -> bool:
        return await unit_of_work.run(expire_reservations, BATCH, actor=SYSTEM) == BATCH

    async def completion() -> bool:
        return await unit_of_work.run(complete_quiet_orders, BATCH, actor=SYSTEM) == BATCH

    async def returns() -> bool:
        ended = await unit_of_work.run(expire_returns, ExpireReturns(limit=BATCH), actor=SYSTEM)
        return len(ended) == BATCH

    async def open_transactions() -> bool:
        async with engine.begin() as session:
            found = await due_to_ask(session, payment_jobs.askable, BATCH)
            if found:
                kind = JobKind.PAYMENT_TRANSACTION
                await queue.enqueue(session, [Job(kind, one, f"ask:{one}") for one in found])
        return False

    async def idempotency_keys() -> bool:
        async with engine.begin() as session:
            return await reap_keys(session, retention.keys) == 1000

    async def old_events() -> bool:
        if retention.events is None:
            return False
        async with engine.begin() as session:
            return await forget_events(session, retention.events)

    async def queue_log() -> bool:
        async with engine.begin() as session:
            await queue.forget_log(session)
        return False

    return [
        Schedule("reservations expire", 1.0, reservations),
        Schedule("providers are asked", 1.0, open_transactions),
        Schedule("unpaid orders expire", 2.0, orders),
        Schedule("authorisations expire", 2.0, authorizations),
        Schedule("returns expire", 60.0, returns),
        Schedule("quiet orders complete", 60.0, completion),
        Schedule("idempotency keys are forgotten", 300.0, idempotency_keys),
        Schedule("old events are forgotten", 60.0, old_events),
        Schedule("the queue's log is forgotten", 3600.0, queue_log),
    ]
