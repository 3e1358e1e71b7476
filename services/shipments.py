"""Shipments before they leave: made, picked, packed, set out for pickup, cancelled.

What happens when they leave is in `departures.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row
from sqlalchemy.dialects.postgresql import ARRAY

from db import visibility
from db.base import new_id
from db.engine import Session
from db.fulfillment import FulfillmentOrderLine
from db.shipments import Package, Shipment, ShipmentLine
from domain import ids
from domain.access import SYSTEM, Principal, VisibilityClass
from domain.errors import InvalidTransition, NotFound, QuantityExceeded, Refused
from domain.events import SHIPMENT_EVENTS
from domain.fulfillment import FULFILLMENT_ORDER, FulfillmentOrderStatus, RequestStatus
from domain.ids import Prefix
from domain.shipment_commands import (
    CreateShipment,
    PackShipment,
    Parcel,
    ReadyForPickup,
    ShipUnits,
    StartPicking,
    check_create_shipment,
    check_pack_shipment,
)
from domain.shipments import SHIPMENT, ShipmentStatus
from domain.states import transition
from services import fulfillment, packages
from services.events import Event
from services.fulfillment import FulfillmentChange, lock_fulfillment_order
from services.order_changes import OrderChange, lock_order, not_found, save

WAITING = [status for status in ShipmentStatus if SHIPMENT.can(status, ShipmentStatus.CANCELLED)]
"""Shipments in the making: nothing of them has left."""

PICKED = frozenset({ShipmentStatus.PACKED, ShipmentStatus.READY_FOR_PICKUP})
"""Shipments whose units have been taken from their shelves and not left yet."""


@dataclass(slots=True)
class ShipmentChange:
    """A shipment under its order's lock, with its lines, packages and where it stands by now."""

    order: OrderChange
    row: Row[Any]
    lines: list[Row[Any]]
    packages: list[Row[Any]]
    status: ShipmentStatus

    @property
    def id(self) -> UUID:
        shipment_id: UUID = self.row.id
        return shipment_id

    @property
    def units(self) -> int:
        """Units of all its lines."""
        return sum(line.quantity for line in self.lines)


@lru_cache(maxsize=256)
def _visible(caller: VisibilityClass) -> sa.Select[Any]:
    table = Shipment.__table__
    return sa.select(table.c.order_id).where(
        table.c.id == sa.bindparam("id", type_=sa.Uuid()), visibility.predicate("shipment", table, caller)
    )


async def lock_shipment(
    session: Session, shipment_id: UUID, *, actor: Principal, now: datetime
) -> ShipmentChange:
    """Lock the order of a shipment that `actor` may see; else Refused(NotFound)."""
    statement = _visible(VisibilityClass.of(actor))
    parameters = {"id": shipment_id, **visibility.values(actor)}
    order_id = (await session.execute(statement, parameters)).scalar_one_or_none()
    if order_id is None:
        raise not_found("shp", shipment_id)
    order = await lock_order(session, order_id, actor=SYSTEM, now=now)
    order.actor = actor
    return await load_shipment(session, order, shipment_id)


async def load_shipment(session: Session, order: OrderChange, shipment_id: UUID) -> ShipmentChange:
    """A shipment of an order that is locked already."""
    row = (await session.execute(sa.select(Shipment.__table__).where(Shipment.id == shipment_id))).one()
    lines = await session.execute(
        sa.select(ShipmentLine.__table__)
        .where(ShipmentLine.shipment_id == shipment_id)
        .order_by(ShipmentLine.id)
    )
    packages = await session.execute(
        sa.select(Package.__table__).where(Package.shipment_id == shipment_id).order_by(Package.id)
    )
    return ShipmentChange(
        order=order,
        row=row,
        lines=list(lines),
        packages=list(packages),
        status=ShipmentStatus(row.status),
    )


async def move(
    session: Session,
    change: ShipmentChange,
    status: ShipmentStatus,
    *,
    details: Mapping[str, Any] | None = None,
    occurred_at: datetime | None = None,
    **values: Any,
) -> None:
    """Take the shipment to `status`, with its event; further columns as `values`.

    Raises `Refused(InvalidTransition)` when the table has no such arrow.
    """
    transition(SHIPMENT, change.status, status)
    await session.execute(
        sa.update(Shipment)
        .where(Shipment.id == change.id)
        .values(status=status, updated_at=change.order.now, **values)
    )
    change.order.record(
        Event(
            type=SHIPMENT_EVENTS[status],
            subject_kind="SHIPMENT",
            subject_id=change.id,
            from_status=change.status,
            to_status=status,
            location_id=change.row.location_id,
            details=dict(details or {}),
            occurred_at=occurred_at,
        )
    )
    change.status = status


async def insert_shipment(
    session: Session,
    change: FulfillmentChange,
    units: Mapping[UUID, int],
    *,
    carrier: str | None,
    service: str | None,
) -> ShipmentChange:
    """A PENDING shipment of these units by fulfillment order line."""
    now = change.order.now
    shipment = (
        await session.execute(
            sa.insert(Shipment)
            .values(
                id=new_id(),
                order_id=change.order.id,
                fulfillment_order_id=change.id,
                location_id=change.location_id,
                status=ShipmentStatus.PENDING,
                carrier=carrier,
                service=service,
                created_at=now,
                updated_at=now,
            )
            .returning(Shipment.__table__)
        )
    ).one()
    lines = await session.execute(
        sa.insert(ShipmentLine).returning(ShipmentLine.__table__),
        [
            {
                "id": new_id(),
                "shipment_id": shipment.id,
                "order_line_id": change.lines[line_id].order_line_id,
                "fulfillment_order_line_id": line_id,
                "product_id": change.lines[line_id].product_id,
                "quantity": quantity,
            }
            for line_id, quantity in units.items()
        ],
    )
    change.order.record(
        Event(
            type=SHIPMENT_EVENTS[ShipmentStatus.PENDING],
            subject_kind="SHIPMENT",
            subject_id=shipment.id,
            to_status=ShipmentStatus.PENDING,
            location_id=change.location_id,
            details={"fulfillmentOrderId": str(change.id), "quantity": sum(units.values())},
        )
    )
    return ShipmentChange(
        order=change.order, row=shipment, lines=list(lines), packages=[], status=ShipmentStatus.PENDING
    )


def sum_units(change: FulfillmentChange, lines: Sequence[ShipUnits]) -> dict[UUID, int]:
    """Units by fulfillment order line, a line named twice summed; Refused for a line that is not its."""
    summed: dict[UUID, int] = {}
    for index, line in enumerate(lines):
        line_id = line.fulfillment_order_line_id
        if line_id not in change.lines:
            text = ids.format_id(Prefix.FULFILLMENT_ORDER_LINE, line_id)
            message = f"The fulfillment order has no line {text}."
            at = ("lines", str(index), "fulfillmentOrderLineId")
            raise Refused(NotFound(message=message, field=at, id=text))
        summed[line_id] = summed.get(line_id, 0) + line.quantity
    return summed


async def begin_work(session: Session, change: FulfillmentChange) -> None:
    """A location that works on a fulfillment order has accepted it, said so or not."""
    if change.status is FulfillmentOrderStatus.OPEN:
        await fulfillment.move(
            session, change, status=FulfillmentOrderStatus.IN_PROGRESS, request=RequestStatus.ACCEPTED
        )


async def create_shipment(
    session: Session, command: CreateShipment, /, *, actor: Principal, now: datetime
) -> UUID:
    """Begin a shipment of units that no other shipment of the fulfillment order holds.

    Raises `Refused`: NotFound, InvalidTransition when the fulfillment order is
    held or at its end, QuantityExceeded for more units than are left.
    """
    check_create_shipment(command)
    change = await lock_fulfillment_order(
        session, command.fulfillment_order_id, actor=actor, now=now, field_name="fulfillmentOrderId"
    )
    await begin_work(session, change)
    require_in_work(change)
    spoken_for = await fulfillment.packed_units(session, change)
    free = {line_id: left - spoken_for.get(line_id, 0) for line_id, left in change.open_units.items()}
    units = sum_units(change, command.lines) or {line_id: left for line_id, left in free.items() if left > 0}
    _check_left(units, free, command.lines)
    made = await insert_shipment(session, change, units, carrier=command.carrier, service=command.service)
    await packages.insert_packages(session, made, command.packages, carrier=command.carrier)
    await save(session, change.order)
    return made.id


def require_in_work(change: FulfillmentChange) -> None:
    """Refused(InvalidTransition) unless the location is at work on the fulfillment order."""
    if change.status is FulfillmentOrderStatus.IN_PROGRESS:
        return
    raise Refused(
        InvalidTransition(
            message=f"The fulfillment order is {change.status}: nothing can be sent for it now.",
            field=("fulfillmentOrderId",),
            entity=FULFILLMENT_ORDER.entity,
            from_status=change.status,
            to_status=FulfillmentOrderStatus.IN_PROGRESS,
            allowed=tuple(str(status) for status in FULFILLMENT_ORDER.allowed(change.status)),
        )
    )


def _check_left(units: Mapping[UUID, int], free: Mapping[UUID, int], lines: Sequence[ShipUnits]) -> None:
    if not units:
        message = "Every unit of the fulfillment order has left or is in a shipment already."
        raise Refused(QuantityExceeded(message=message, field=("lines",), requested=1, limit=0))
    order = [line.fulfillment_order_line_id for line in lines]
    errors = [
        QuantityExceeded(
            message=f"{max(free[line_id], 0)} units of this line are left to send, not {quantity}.",
            field=("lines", str(order.index(line_id)), "quantity") if lines else ("lines",),
            requested=quantity,
            limit=max(free[line_id], 0),
        )
        for line_id, quantity in units.items()
        if quantity > free[line_id]
    ]
    if errors:
        raise Refused(*errors)


async def start_picking(
    session: Session, command: StartPicking, /, *, actor: Principal, now: datetime
) -> UUID:
    """Its units are being taken from their shelves."""
    change = await lock_shipment(session, command.shipment_id, actor=actor, now=now)
    await move(session, change, ShipmentStatus.PICKING)
    await save(session, change.order)
    return change.id


async def pack_shipment(
    session: Session, command: PackShipment, /, *, actor: Principal, now: datetime
) -> UUID:
    """Its units are in their parcels."""
    check_pack_shipment(command)
    change = await lock_shipment(session, command.shipment_id, actor=actor, now=now)
    carrier = command.carrier or change.row.carrier
    parcels = command.packages or (() if change.packages else (Parcel(),))
    await packages.insert_packages(session, change, parcels, carrier=carrier)
    await count_picked(session, change)
    await move(
        session,
        change,
        ShipmentStatus.PACKED,
        details={"packages": len(change.packages) + len(parcels)},
        carrier=carrier,
        service=command.service or change.row.service,
    )
    await save(session, change.order)
    return change.id


_picked = (
    sa.func.unnest(
        sa.bindparam("line_ids", type_=ARRAY(sa.Uuid())), sa.bindparam("units", type_=ARRAY(sa.Integer()))
    )
    .table_valued(sa.column("line_id", sa.Uuid()), sa.column("units", sa.Integer()), name="picked")
    .render_derived()
)
_COUNT_PICKED = (
    sa.update(FulfillmentOrderLine)
    .where(FulfillmentOrderLine.id == _picked.c.line_id)
    .values(quantity_picked=FulfillmentOrderLine.quantity_picked + _picked.c.units)
)


async def count_picked(session: Session, change: ShipmentChange, *, back: bool = False) -> None:
    """The shipment's units were picked, or (`back`) put back on their shelves."""
    lines = [line for line in change.lines if line.fulfillment_order_line_id is not None]
    if lines:
        sign = -1 if back else 1
        await session.execute(
            _COUNT_PICKED,
            {
                "line_ids": [line.fulfillment_order_line_id for line in lines],
                "units": [sign * line.quantity for line in lines],
            },
        )


async def ready_for_pickup(
    session: Session, command: ReadyForPickup, /, *, actor: Principal, now: datetime
) -> UUID:
    """It waits at its location for the customer; its units leave stock when they are collected."""
    change = await lock_shipment(session, command.shipment_id, actor=actor, now=now)
    if change.status not in PICKED:
        await count_picked(session, change)
    await move(session, change, ShipmentStatus.READY_FOR_PICKUP)
    await save(session, change.order)
    return change.id


def units_of(change: ShipmentChange) -> dict[UUID, int]:
    """The shipment's units by fulfillment order line."""
    units: dict[UUID, int] = {}
    for line in change.lines:
        line_id = line.fulfillment_order_line_id
        if line_id is not None:
            units[line_id] = units.get(line_id, 0) + line.quantity
    return units
