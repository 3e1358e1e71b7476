"""Changing a return: under its order's lock, or under its own when it has no order.

The shape is that of `order_changes`: lock, change rows, `record`, `save_return`.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from db.payments import Refund
from db.returns import Return, ReturnLine
from domain.access import SYSTEM, Principal, VisibilityClass
from domain.errors import InvalidTransition, Refused
from domain.events import RETURN_EVENTS, AggregateKind, EventType
from domain.orders import FulfillmentStatus
from domain.payments import RefundStatus
from domain.returns import RETURN, ReturnFacts, ReturnState, customer_status
from domain.states import transition
from services import events, order_changes
from services.events import Event
from services.order_changes import OrderChange, lock_order, not_found


@dataclass(slots=True)
class ReturnChange:
    """A locked return with its lines, the order it belongs to (if any), and what has happened so far."""

    row: Row[Any]
    lines: dict[UUID, Row[Any]]
    order: OrderChange | None
    actor: Principal
    now: datetime
    status: ReturnState
    own_events: list[Event] = field(default_factory=list)

    @property
    def id(self) -> UUID:
        return_id: UUID = self.row.id
        return return_id

    @property
    def order_id(self) -> UUID | None:
        return self.order.id if self.order else None

    @property
    def received(self) -> int:
        """Units that have come in."""
        return sum(line.quantity_received for line in self.lines.values())

    @property
    def inspected(self) -> bool:
        """Whether every unit that came in was judged."""
        return all(
            line.quantity_accepted + line.quantity_rejected == line.quantity_received
            for line in self.lines.values()
        )

    @property
    def complete(self) -> bool:
        """Whether every unit that was expected has come in."""
        return all(line.quantity_received >= line.quantity_expected for line in self.lines.values())

    def event(self, type: EventType, **more: Any) -> Event:
        """An event of this return, visible to its location."""
        return Event(
            type=type,
            subject_kind="RETURN",
            subject_id=self.id,
            return_id=self.id,
            location_id=self.row.location_id,
            **more,
        )

    def record(self, *happened: Event) -> None:
        if self.order is not None:
            self.order.record(*happened)
        else:
            self.own_events.extend(happened)

    def require_open(self, field_name: str = "id") -> None:
        """Refused(InvalidTransition) unless goods may be sent back by it now."""
        if self.status is ReturnState.OPEN:
            return
        raise Refused(
            InvalidTransition(
                message=f"The return is {self.status}, not OPEN.",
                field=(field_name,),
                entity=RETURN.entity,
                from_status=self.status,
                to_status=ReturnState.OPEN,
                allowed=tuple(str(state) for state in RETURN.allowed(self.status)),
            )
        )


@lru_cache(maxsize=256)
def _visible(caller: VisibilityClass) -> sa.Select[Any]:
    table = Return.__table__
    return sa.select(table.c.order_id).where(
        table.c.id == sa.bindparam("id", type_=sa.Uuid()), visibility.predicate("returns", table, caller)
    )


async def lock_return(
    session: Session, return_id: UUID, *, actor: Principal, now: datetime, field_name: str = "id"
) -> ReturnChange:
    """Lock the return for a change by `actor`, if the actor may see it; else Refused(NotFound).

    Whoever may see a return may change it within its scopes, though the order
    may not be theirs to see: goods can come back to another location than the
    one that sent them.
    """
    statement = _visible(VisibilityClass.of(actor))
    seen = (await session.execute(statement, {"id": return_id, **visibility.values(actor)})).one_or_none()
    if seen is None:
        raise not_found("ret", return_id, field_name)
    order = None
    if seen.order_id is not None:
        order = await lock_order(session, seen.order_id, actor=SYSTEM, now=now)
        order.actor = actor
    return await load_return(session, return_id, order=order, actor=actor, now=now)


async def load_return(
    session: Session, return_id: UUID, *, order: OrderChange | None, actor: Principal, now: datetime
) -> ReturnChange:
    """A return of an order that is locked already; one without an order is locked here."""
    statement = sa.select(Return.__table__).where(Return.id == return_id)
    row = (await session.execute(statement if order else statement.with_for_update())).one()
    lines = await session.execute(
        sa.select(ReturnLine.__table__).where(ReturnLine.return_id == return_id).order_by(ReturnLine.id)
    )
    return ReturnChange(
        row=row,
        lines={line.id: line for line in lines},
        order=order,
        actor=actor,
        now=now,
        status=ReturnState(row.status),
    )


async def move(
    session: Session,
    change: ReturnChange,
    *,
    status: ReturnState | None = None,
    event: EventType | None = None,
    details: Mapping[str, Any] | None = None,
    occurred_at: datetime | None = None,
    **values: Any,
) -> None:
    """Set columns of the return and, with `status`, take it there; one event tells of it.

    Raises `Refused(InvalidTransition)` when the table has no such arrow.
    """
    origin = change.status
    if status is not None:
        transition(RETURN, origin, status)
        values["status"] = status
    change.row = (
        await session.execute(
            sa.update(Return)
            .where(Return.id == change.id)
            .values(**values, updated_at=change.now)
            .returning(Return.__table__)
        )
    ).one()
    change.status = status or origin
    kind = event or (RETURN_EVENTS[status] if status is not None else EventType.RETURN_UPDATED)
    change.record(
        change.event(
            kind,
            from_status=origin if status is not None else None,
            to_status=status,
            details=dict(details or {}),
            occurred_at=occurred_at,
        )
    )


_units = (
    sa.select(
        ReturnLine.return_id,
        sa.func.sum(ReturnLine.quantity_received).label("received"),
        sa.func.sum(ReturnLine.quantity_accepted).label("accepted"),
        sa.func.sum(ReturnLine.quantity_rejected).label("rejected"),
    )
    .group_by(ReturnLine.return_id)
    .subquery("units")
)
_paid_out = sa.exists().where(Refund.return_id == Return.id, Refund.status == RefundStatus.SUCCEEDED)
_replaced = sa.exists().where(
    Order.replaces_return_id == Return.id, Order.fulfillment_status == FulfillmentStatus.FULFILLED
)
_FACTS = sa.select(
    Return.id,
    Return.status,
    Return.customer_status,
    Return.tracking_number,
    _units.c.received,
    _units.c.accepted,
    _units.c.rejected,
    _paid_out.label("refunded"),
    _replaced.label("replaced"),
).join(_units, _units.c.return_id == Return.id)


async def refresh_customer_status(
    session: Session, *, order_id: UUID | None = None, return_id: UUID | None = None, now: datetime
) -> None:
    """Derive anew what customers are told of a return, or of all returns of an order."""
    of = Return.order_id == order_id if order_id is not None else Return.id == return_id
    for row in (await session.execute(_FACTS.where(of))).all():
        told = customer_status(
            ReturnFacts(
                state=row.status,
                received=row.received,
                accepted=row.accepted,
                rejected=row.rejected,
                sent=row.tracking_number is not None,
                refunded=row.refunded,
                replaced=row.replaced,
            )
        )
        if told is not row.customer_status:
            await session.execute(
                sa.update(Return).where(Return.id == row.id).values(customer_status=told, updated_at=now)
            )


async def save_return(session: Session, change: ReturnChange) -> None:
    """Settle and save the order, or write the return's own events and its next version."""
    await refresh_customer_status(session, return_id=change.id, now=change.now)
    if change.order is not None:
        await order_changes.save(session, change.order)
        return
    aggregate = events.Aggregate(
        kind=AggregateKind.RETURN,
        id=change.row.id,
        version=change.row.version,
        channel_id=change.row.channel_id,
        customer_id=change.row.customer_id,
    )
    version = await events.record(
        session, aggregate, change.own_events, actor=change.actor.account, now=change.now
    )
    await session.execute(
        sa.update(Return).where(Return.id == change.row.id).values(version=version, updated_at=change.now)
    )
