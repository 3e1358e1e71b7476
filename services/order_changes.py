"""Changing an order: locked first, changed, settled and recorded in one transaction.

Whoever changes an order or any of its documents goes through here:

    change = await lock_order(session, order_id, actor=actor, now=now)
    ...                                   # statements on the order's documents
    change.record(Event(...))
    await save(session, change)           # roll-ups, status, release, events, version
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row

from db import visibility
from db.engine import Session
from db.orders import Order
from domain import ids
from domain.access import Principal, VisibilityClass
from domain.errors import NotFound, Refused, VersionConflict
from domain.events import AggregateKind
from domain.orders import Origin
from services import events
from services.events import Event

LockedOrder = Row[Any]
"""The `orders` row as read under its lock."""


@dataclass(slots=True)
class OrderChange:
    """A locked order, who changes it and when, and what has happened to it so far."""

    order: LockedOrder
    actor: Principal
    now: datetime
    origin: Origin = Origin.PLACED
    happened: list[Event] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    """Columns of the order to set when the change is saved."""

    @property
    def id(self) -> UUID:
        order_id: UUID = self.order.id
        return order_id

    def record(self, *events_: Event) -> None:
        self.happened.extend(events_)

    @property
    def aggregate(self) -> events.Aggregate:
        return events.Aggregate(
            kind=AggregateKind.ORDER,
            id=self.order.id,
            version=self.order.version,
            order_id=self.order.id,
            channel_id=self.order.channel_id,
            customer_id=self.order.customer_id,
            company_id=self.order.company_id,
        )


@lru_cache(maxsize=256)
def _lock_statement(caller: VisibilityClass) -> sa.Select[Any]:
    table = Order.__table__
    return (
        sa.select(table)
        .where(
            table.c.id == sa.bindparam("id", type_=sa.Uuid()),
            visibility.predicate("orders", table, caller),
        )
        .with_for_update(of=table)
    )


def not_found(prefix: str, entity_id: UUID, field_name: str = "id") -> Refused:
    """The one answer for "not there" and "not visible to you"."""
    text = ids.format_id(prefix, entity_id)
    return Refused(NotFound(message=f"There is no {text} that you may see.", field=(field_name,), id=text))


async def lock_order(
    session: Session,
    order_id: UUID,
    *,
    actor: Principal,
    now: datetime,
    expected_version: int | None = None,
    field_name: str = "id",
) -> OrderChange:
    """Lock the order for a change by `actor`, if the actor may see it.

    Raises `Refused` with NotFound, or with VersionConflict when the caller edits
    a version of the order that is not the current one.
    """
    statement = _lock_statement(VisibilityClass.of(actor))
    row = (await session.execute(statement, {"id": order_id, **visibility.values(actor)})).one_or_none()
    if row is None:
        raise not_found("ord", order_id, field_name)
    if expected_version is not None and row.version != expected_version:
        raise Refused(
            VersionConflict(
                message=f"The order is at version {row.version} by now; read it again.",
                field=("expectedVersion",),
                expected=expected_version,
                actual=row.version,
            )
        )
    return OrderChange(order=row, actor=actor, now=now)
