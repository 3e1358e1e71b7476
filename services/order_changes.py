"""Changing an order: locked first, changed, settled and recorded in one transaction.

Whoever changes an order or any of its documents goes through here:

    change = await lock_order(session, order_id, actor=actor, now=now)
    ...                                   # statements on the order's documents
    change.record(Event(...))
    await save(session, change)           # roll-ups, status, release, events, version
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from types import SimpleNamespace
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
from domain.events import ORDER_EVENTS, AggregateKind, EventType
from domain.order_status import OrderFacts, fulfillment_status, return_status, settle
from domain.orders import ORDER, FulfillmentStatus, OrderStatus, Origin
from domain.payment_sums import payment_status, release_gate_met
from domain.states import transition
from services import events, order_facts, release
from services.events import Event
from services.order_facts import Facts
from services.release import Unassigned

LockedOrder = Row[Any]
"""The `orders` row as read under its lock."""


class NewOrder(SimpleNamespace):
    """An order that is about to be written: every column that it is written with."""


@dataclass(slots=True)
class OrderChange:
    """A locked order, who changes it and when, and what has happened to it so far."""

    order: LockedOrder | NewOrder
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


async def save(session: Session, change: OrderChange) -> None:
    """Settle the order and write what happened to it.

    Roll-ups and status follow from what is stored by now; an order whose gate is met
    and which nothing holds is released to its locations. Then the outbox rows and the
    new version are written; the lock is held until the commit.
    """
    facts = await order_facts.read(session, change.id)
    if _settled(change, facts):
        await release.release(session, change)
    version = await _record(session, change)
    values = {**change.values, "version": version, "updated_at": change.now}
    await session.execute(_update(tuple(sorted(values))), {"changed_id": change.id, **values})


async def save_new(
    session: Session,
    change: OrderChange,
    facts: Facts,
    *,
    allocated: Callable[[], Sequence[Unassigned]],
    unless: Mapping[str, Callable[[], Refused]],
) -> None:
    """The same for an order that is not written yet: nothing needs to be read, and it is written once.

    `facts` and, asked for where its units may be sent at once, `allocated` are what would be read.
    `unless`: what says why the order may yet be refused, by the constraint that says so.
    """
    if _settled(change, facts):
        await release.open_orders(session, change, allocated())
    version = await _record(session, change)
    row = {**vars(change.order), **change.values, "version": version}
    await session.add(Order, [row], unless=unless)


def _settled(change: OrderChange, facts: Facts) -> bool:
    """Bring roll-ups and status up to the facts; returns whether the order's units may be sent."""
    _roll_up(change, facts)
    status = _settle(change, facts)
    return status in RELEASABLE and not change.values.get("on_hold", change.order.on_hold)


async def _record(session: Session, change: OrderChange) -> int:
    """Write what happened; returns the order's new version."""
    version = await events.record(
        session,
        change.aggregate,
        change.happened,
        actor=change.actor.account,
        now=change.now,
        origin=change.origin,
    )
    change.happened.clear()
    return version


@lru_cache(maxsize=256)
def _update(names: tuple[str, ...]) -> sa.Update:
    columns = Order.__table__.c
    return (
        sa.update(Order)
        .where(Order.id == sa.bindparam("changed_id", type_=sa.Uuid()))
        .values({name: sa.bindparam(name, type_=columns[name].type) for name in names})
    )


RELEASABLE = frozenset({OrderStatus.CONFIRMED, OrderStatus.PROCESSING})
"""Orders that may have units to send."""


def _roll_up(change: OrderChange, facts: Facts) -> None:
    due = change.values.get("current_total", change.order.current_total)
    change.values |= {
        "received_total": facts.money.captured,
        "refunded_total": facts.money.refunded,
        "charged_back_total": facts.money.charged_back,
    }
    rolled_up = {
        "payment_status": payment_status(due, facts.money),
        "fulfillment_status": fulfillment_status(facts.units),
        "return_status": return_status(facts.units, facts.returns),
    }
    for name, value in rolled_up.items():
        before = getattr(change.order, name)
        if value is not before:
            change.values[name] = value
            change.record(
                Event(
                    type=_ROLL_UP_EVENTS[name],
                    subject_kind="ORDER",
                    subject_id=change.id,
                    details={"from": before, "to": value},
                )
            )
    if rolled_up["fulfillment_status"] is FulfillmentStatus.FULFILLED and not change.order.dispatched_at:
        change.values.setdefault("dispatched_at", change.now)


_ROLL_UP_EVENTS = {
    "payment_status": EventType.ORDER_PAYMENT_STATUS_CHANGED,
    "fulfillment_status": EventType.ORDER_FULFILLMENT_STATUS_CHANGED,
    "return_status": EventType.ORDER_RETURN_STATUS_CHANGED,
}

_REACHED_AT = {
    OrderStatus.CONFIRMED: "confirmed_at",
    OrderStatus.COMPLETED: "completed_at",
    OrderStatus.CANCELLED: "cancelled_at",
    OrderStatus.EXPIRED: "cancelled_at",
}


def _settle(change: OrderChange, facts: Facts) -> OrderStatus:
    """Move the order as far as its facts carry it; returns where it stands."""
    order = change.order
    due = change.values.get("current_total", order.current_total)
    path = settle(
        OrderFacts(
            status=change.values.get("status", order.status),
            units=facts.units,
            gate_met=release_gate_met(
                change.values.get("release_gate", order.release_gate), due, facts.money
            ),
            work_begun=facts.work_begun,
            on_its_way=facts.units.fulfilled - facts.delivered,
            in_trouble=facts.in_trouble,
            dispatched_at=change.values.get("dispatched_at", order.dispatched_at),
            completes_after=facts.completes_after,
        ),
        change.now,
    )
    for status in path:
        move(change, status)
    final: OrderStatus = change.values.get("status", order.status)
    return final


def move(change: OrderChange, status: OrderStatus) -> None:
    """Move the order to `status` and record it; Refused(InvalidTransition) where the table has no arrow."""
    before = change.values.get("status", change.order.status)
    change.values["status"] = transition(ORDER, before, status)
    if status in _REACHED_AT:
        change.values[_REACHED_AT[status]] = change.now
    change.record(
        Event(
            type=ORDER_EVENTS[status],
            subject_kind="ORDER",
            subject_id=change.id,
            from_status=before,
            to_status=status,
        )
    )
