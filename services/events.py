"""Recording events: the outbox rows of a change, written in its own transaction.

Versions are dense per aggregate because whoever records holds the aggregate's
row lock and hands in the version the row is at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from db.base import new_id
from db.engine import Session
from db.events import Outbox
from domain.events import AggregateKind, EventType
from domain.orders import Origin


@dataclass(slots=True, kw_only=True)  # not frozen: that doubles what it costs, and an order makes several
class Event:
    """One thing that happened to `subject`, a part of an aggregate.

    `details` holds quantities (units) and money (minor units), never personal
    data. `occurred_at` is when it happened outside, where a partner told us.
    """

    type: EventType
    subject_kind: str
    subject_id: UUID
    from_status: str | None = None
    to_status: str | None = None
    location_id: UUID | None = None
    product_id: UUID | None = None
    return_id: UUID | None = None
    details: dict[str, Any] = field(default_factory=dict)
    occurred_at: datetime | None = None


class Aggregate(NamedTuple):
    """What the events belong to, its version before them, and the ids that decide who sees them."""

    kind: AggregateKind
    id: UUID
    version: int
    order_id: UUID | None = None
    channel_id: UUID | None = None
    customer_id: UUID | None = None
    company_id: UUID | None = None


def rows(
    aggregate: Aggregate, events: Sequence[Event], *, actor: str, now: datetime, origin: Origin
) -> list[dict[str, Any]]:
    """Outbox rows for `events`, numbered from the aggregate's next version on."""
    return [
        {
            "event_id": new_id(),
            "type": event.type,
            "aggregate_kind": aggregate.kind,
            "aggregate_id": aggregate.id,
            "version": aggregate.version + number,
            "subject_kind": event.subject_kind,
            "subject_id": event.subject_id,
            "from_status": event.from_status,
            "to_status": event.to_status,
            "order_id": aggregate.order_id,
            "channel_id": aggregate.channel_id,
            "customer_id": aggregate.customer_id,
            "company_id": aggregate.company_id,
            "location_id": event.location_id,
            "product_id": event.product_id,
            "return_id": event.return_id,
            "details": event.details,
            "origin": origin,
            "actor": actor,
            "occurred_at": event.occurred_at or now,
        }
        for number, event in enumerate(events, start=1)
    ]


async def record(
    session: Session,
    aggregate: Aggregate,
    events: Sequence[Event],
    *,
    actor: str,
    now: datetime,
    origin: Origin = Origin.PLACED,
) -> int:
    """Write the events and return the aggregate's new version; the caller stores it on the locked row."""
    if events:
        await session.add(Outbox, rows(aggregate, events, actor=actor, now=now, origin=origin))
    return aggregate.version + len(events)
