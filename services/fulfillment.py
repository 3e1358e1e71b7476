"""Fulfillment orders: how a location answers what it is asked to send.

They are made when an order is released to its locations (`release.py`); what
leaves for them is in `departures.py`, what is missing in `short_picks.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.dialects.postgresql import ARRAY

from db import visibility
from db.engine import Session
from db.fulfillment import FulfillmentOrder, FulfillmentOrderLine
from db.shipments import Shipment, ShipmentLine
from domain.access import SYSTEM, Principal, VisibilityClass
from domain.events import FULFILLMENT_ORDER_EVENTS, SHIPMENT_EVENTS, EventType
from domain.fulfillment import (
    FULFILLMENT_ORDER,
    REQUEST,
    FulfillmentOrderStatus,
    RequestStatus,
    resumed,
)
from domain.fulfillment_commands import (
    AcceptFulfillmentOrder,
    HoldFulfillmentOrder,
    RejectFulfillmentOrder,
    ReleaseFulfillmentOrder,
    check_reason,
)
from domain.shipments import SHIPMENT, ShipmentStatus
from domain.states import transition
from services import release, sourcing
from services.events import Event
from services.order_changes import OrderChange, lock_order, not_found, save


@dataclass(slots=True)
class FulfillmentChange:
    """A fulfillment order under its order's lock, with its lines and where it stands by now."""

    order: OrderChange
    row: Row[Any]
    lines: dict[UUID, Row[Any]]
    status: FulfillmentOrderStatus
    request: RequestStatus
    left: dict[UUID, int]
    """Units of each line that may still leave, kept up as they do."""

    @property
    def id(self) -> UUID:
        fulfillment_order_id: UUID = self.row.id
        return fulfillment_order_id

    @property
    def location_id(self) -> UUID:
        location_id: UUID = self.row.location_id
        return location_id

    @property
    def open_units(self) -> dict[UUID, int]:
        """Units of each line that may still leave."""
        return dict(self.left)

    def event(self, type: EventType, **more: Any) -> Event:
        """An event of this fulfillment order, visible to its location."""
        return Event(
            type=type,
            subject_kind="FULFILLMENT_ORDER",
            subject_id=self.id,
            location_id=self.location_id,
            **more,
        )


def open_units(line: Row[Any]) -> int:
    """Units of a line that have neither left, nor fallen short, nor been cancelled."""
    left: int = line.quantity - line.quantity_shipped - line.quantity_short - line.quantity_cancelled
    return left


@lru_cache(maxsize=256)
def _visible(caller: VisibilityClass) -> sa.Select[Any]:
    table = FulfillmentOrder.__table__
    return sa.select(table.c.order_id).where(
        table.c.id == sa.bindparam("id", type_=sa.Uuid()),
        visibility.predicate("fulfillment_order", table, caller),
    )


async def lock_fulfillment_order(
    session: Session, fulfillment_order_id: UUID, *, actor: Principal, now: datetime, field_name: str = "id"
) -> FulfillmentChange:
    """Lock the order of a fulfillment order that `actor` may see; else Refused(NotFound)."""
    statement = _visible(VisibilityClass.of(actor))
    parameters = {"id": fulfillment_order_id, **visibility.values(actor)}
    order_id = (await session.execute(statement, parameters)).scalar_one_or_none()
    if order_id is None:
        raise not_found("ful", fulfillment_order_id, field_name)
    order = await lock_order(session, order_id, actor=SYSTEM, now=now)
    order.actor = actor
    return await load_fulfillment_order(session, order, fulfillment_order_id)


async def load_fulfillment_order(
    session: Session, order: OrderChange, fulfillment_order_id: UUID
) -> FulfillmentChange:
    """A fulfillment order of an order that is locked already."""
    row = (
        await session.execute(
            sa.select(FulfillmentOrder.__table__).where(FulfillmentOrder.id == fulfillment_order_id)
        )
    ).one()
    lines = await session.execute(
        sa.select(FulfillmentOrderLine.__table__)
        .where(FulfillmentOrderLine.fulfillment_order_id == fulfillment_order_id)
        .order_by(FulfillmentOrderLine.id)
    )
    by_id = {line.id: line for line in lines}
    return FulfillmentChange(
        order=order,
        row=row,
        lines=by_id,
        status=FulfillmentOrderStatus(row.status),
        request=RequestStatus(row.request_status),
        left={line_id: open_units(line) for line_id, line in by_id.items()},
    )


async def move(
    session: Session,
    change: FulfillmentChange,
    *,
    status: FulfillmentOrderStatus | None = None,
    request: RequestStatus | None = None,
    event: EventType | None = None,
    reason: str | None = None,
    note: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Take the fulfillment order along one or both of its axes, with one event.

    `reason` and `note` are kept on its row alone: no text that people write is told in events.

    Raises `Refused(InvalidTransition)` when a table has no such arrow.
    """
    origin = change.status
    said = dict(details or {})
    if status is not None:
        transition(FULFILLMENT_ORDER, origin, status)
    if request is not None and request is not change.request:
        transition(REQUEST, change.request, request)
        said["request"] = {"from": change.request, "to": request}
    values: dict[str, Any] = {
        "status": status or origin,
        "request_status": request or change.request,
        "updated_at": change.order.now,
    }
    if reason is not None:
        values["reject_reason"] = reason
    if note is not None:
        values["note"] = note
    await session.execute(sa.update(FulfillmentOrder).where(FulfillmentOrder.id == change.id).values(values))
    change.status, change.request = values["status"], values["request_status"]
    if status is None:
        change.order.record(change.event(event or EventType.FULFILLMENT_ORDER_UPDATED, details=said))
        return
    change.order.record(
        change.event(
            event or FULFILLMENT_ORDER_EVENTS[status], from_status=origin, to_status=status, details=said
        )
    )


_cancelled = (
    sa.func.unnest(
        sa.bindparam("line_ids", type_=ARRAY(sa.Uuid())), sa.bindparam("units", type_=ARRAY(sa.Integer()))
    )
    .table_valued(sa.column("line_id", sa.Uuid()), sa.column("units", sa.Integer()), name="cancelled")
    .render_derived()
)
_CANCEL_UNITS = (
    sa.update(FulfillmentOrderLine)
    .where(FulfillmentOrderLine.id == _cancelled.c.line_id)
    .values(quantity_cancelled=FulfillmentOrderLine.quantity_cancelled + _cancelled.c.units)
)


async def cancel_lines(session: Session, units: Mapping[UUID, int]) -> None:
    """These units of fulfillment order lines will never leave; statuses are the caller's."""
    given = {line_id: quantity for line_id, quantity in units.items() if quantity}
    if given:
        await session.execute(_CANCEL_UNITS, {"line_ids": list(given), "units": list(given.values())})


_WAITING = [status for status in ShipmentStatus if SHIPMENT.can(status, ShipmentStatus.CANCELLED)]


async def cancel_shipments(session: Session, change: FulfillmentChange) -> None:
    """Cancel what was being picked or packed of the fulfillment order; nothing of it has left."""
    rows = await session.execute(
        sa.select(Shipment.id, Shipment.status)
        .where(Shipment.fulfillment_order_id == change.id, Shipment.status.in_(_WAITING))
        .order_by(Shipment.id)
    )
    for row in rows.all():
        await session.execute(
            sa.update(Shipment)
            .where(Shipment.id == row.id)
            .values(status=ShipmentStatus.CANCELLED, updated_at=change.order.now)
        )
        change.order.record(
            Event(
                type=SHIPMENT_EVENTS[ShipmentStatus.CANCELLED],
                subject_kind="SHIPMENT",
                subject_id=row.id,
                from_status=row.status,
                to_status=ShipmentStatus.CANCELLED,
                location_id=change.location_id,
            )
        )


def of_order_lines(change: FulfillmentChange, units: Mapping[UUID, int]) -> dict[UUID, int]:
    """Units by order line, from units by fulfillment order line."""
    summed: dict[UUID, int] = {}
    for line_id, quantity in units.items():
        order_line_id = change.lines[line_id].order_line_id
        summed[order_line_id] = summed.get(order_line_id, 0) + quantity
    return summed


async def accept_fulfillment_order(
    session: Session, command: AcceptFulfillmentOrder, /, *, actor: Principal, now: datetime
) -> UUID:
    """The location will send it: OPEN becomes IN_PROGRESS."""
    change = await lock_fulfillment_order(session, command.fulfillment_order_id, actor=actor, now=now)
    await move(session, change, status=FulfillmentOrderStatus.IN_PROGRESS, request=RequestStatus.ACCEPTED)
    await save(session, change.order)
    return change.id


async def reject_fulfillment_order(
    session: Session, command: RejectFulfillmentOrder, /, *, actor: Principal, now: datetime
) -> UUID:
    """The location will not: its units go to other locations, or become backorders."""
    check_reason(command.reason, "reason")
    change = await lock_fulfillment_order(session, command.fulfillment_order_id, actor=actor, now=now)
    units = of_order_lines(change, change.open_units)
    await move(
        session,
        change,
        status=FulfillmentOrderStatus.REJECTED,
        request=RequestStatus.REJECTED,
        reason=command.reason,
    )
    await sourcing.resource(session, change.order, units, except_location=change.location_id)
    await release_replacement(session, change)
    await save(session, change.order)
    return change.id


async def release_replacement(session: Session, change: FulfillmentChange) -> None:
    """Ask the locations that took its units over, unless the order is held: then its release will."""
    if not change.order.order.on_hold:
        await release.release(session, change.order, replaces=change.id)


async def hold_fulfillment_order(
    session: Session, command: HoldFulfillmentOrder, /, *, actor: Principal, now: datetime
) -> UUID:
    """Stop work on it for now; other fulfillment orders of the order go on."""
    check_reason(command.note, "note")
    change = await lock_fulfillment_order(session, command.fulfillment_order_id, actor=actor, now=now)
    await move(session, change, status=FulfillmentOrderStatus.ON_HOLD, note=command.note)
    await save(session, change.order)
    return change.id


async def release_fulfillment_order(
    session: Session, command: ReleaseFulfillmentOrder, /, *, actor: Principal, now: datetime
) -> UUID:
    """Go on where it was held, in work or not yet accepted."""
    change = await lock_fulfillment_order(session, command.fulfillment_order_id, actor=actor, now=now)
    await move(
        session,
        change,
        status=resumed(change.request),
        event=EventType.FULFILLMENT_ORDER_RELEASED,
    )
    await save(session, change.order)
    return change.id


async def packed_units(session: Session, change: FulfillmentChange) -> dict[UUID, int]:
    """Units of each line in shipments that are being made ready: they are spoken for."""
    rows = await session.execute(
        sa.select(ShipmentLine.fulfillment_order_line_id, sa.func.sum(ShipmentLine.quantity))
        .join(Shipment, Shipment.id == ShipmentLine.shipment_id)
        .where(
            Shipment.fulfillment_order_id == change.id,
            Shipment.status.in_(_WAITING),
        )
        .group_by(ShipmentLine.fulfillment_order_line_id)
    )
    return {line_id: int(quantity) for line_id, quantity in rows if line_id is not None}
