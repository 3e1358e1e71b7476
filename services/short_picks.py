"""Short picks: units that the books have and the shelf has not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from db.engine import Session
from db.fulfillment import FulfillmentOrder, FulfillmentOrderLine
from db.stock import Allocation
from domain.access import Principal
from domain.errors import QuantityExceeded, Refused, UserError
from domain.events import EventType
from domain.fulfillment import LIVE, FulfillmentOrderStatus, RequestStatus
from domain.fulfillment_commands import MarkShort, check_mark_short
from domain.ids import Prefix, format_id
from domain.shipment_commands import ShipUnits
from services import fulfillment, shipments, sourcing
from services.fulfillment import FulfillmentChange, lock_fulfillment_order, of_order_lines
from services.order_changes import save


async def mark_short(session: Session, command: MarkShort, /, *, actor: Principal, now: datetime) -> UUID:
    """The location cannot find these units: stock is corrected, and they are sent from elsewhere or wait.

    What it can send it still sends: the fulfillment order ends INCOMPLETE once
    nothing is left of it, at once when that is so already. Raises `Refused`:
    NotFound, InvalidTransition when it is not in work, QuantityExceeded for more
    units than are left and in no shipment.
    """
    check_mark_short(command)
    change = await lock_fulfillment_order(session, command.fulfillment_order_id, actor=actor, now=now)
    units = shipments.sum_units(
        change,
        [
            ShipUnits(fulfillment_order_line_id=line.fulfillment_order_line_id, quantity=line.quantity)
            for line in command.lines
        ],
    )
    shipments.require_in_work(change)
    await _check_missing(session, change, units)
    await _count_short(session, units)
    if command.note:
        await session.execute(
            sa.update(FulfillmentOrder).where(FulfillmentOrder.id == change.id).values(note=command.note)
        )
    change.order.record(
        change.event(
            EventType.SHORT_PICK_REPORTED,
            details={
                "lines": [
                    {
                        "fulfillmentOrderLineId": str(line_id),
                        "orderLineId": str(change.lines[line_id].order_line_id),
                        "quantity": quantity,
                    }
                    for line_id, quantity in units.items()
                ],
            },
        )
    )
    loose = await _loose_units(session, change, of_order_lines(change, units))
    await sourcing.resource(
        session,
        change.order,
        loose,
        except_location=change.location_id,
        missing=format_id(Prefix.FULFILLMENT_ORDER, change.id),
    )
    change = await fulfillment.load_fulfillment_order(session, change.order, change.id)
    await end_if_done(session, change)
    await fulfillment.release_replacement(session, change)
    await save(session, change.order)
    return change.id


async def end_if_done(session: Session, change: FulfillmentChange) -> None:
    """Close a fulfillment order of which nothing is left to send; INCOMPLETE when some fell short."""
    if change.status is not FulfillmentOrderStatus.IN_PROGRESS or any(change.open_units.values()):
        return
    short = any(line.quantity_short for line in change.lines.values())
    ended = FulfillmentOrderStatus.INCOMPLETE if short else FulfillmentOrderStatus.CLOSED
    await fulfillment.move(session, change, status=ended, request=RequestStatus.CLOSED)


async def _check_missing(session: Session, change: FulfillmentChange, units: Mapping[UUID, int]) -> None:
    spoken_for = await fulfillment.packed_units(session, change)
    left = {line_id: open_ - spoken_for.get(line_id, 0) for line_id, open_ in change.open_units.items()}
    errors: list[UserError] = [
        QuantityExceeded(
            message=f"{left[line_id]} units of this line can be missing, not {quantity}.",
            field=("lines", str(index), "quantity"),
            requested=quantity,
            limit=left[line_id],
        )
        for index, (line_id, quantity) in enumerate(units.items())
        if quantity > left[line_id]
    ]
    if errors:
        raise Refused(*errors)


_short = (
    sa.func.unnest(
        sa.bindparam("line_ids", type_=ARRAY(sa.Uuid())), sa.bindparam("units", type_=ARRAY(sa.Integer()))
    )
    .table_valued(sa.column("line_id", sa.Uuid()), sa.column("units", sa.Integer()), name="short")
    .render_derived()
)
_COUNT_SHORT = (
    sa.update(FulfillmentOrderLine)
    .where(FulfillmentOrderLine.id == _short.c.line_id)
    .values(quantity_short=FulfillmentOrderLine.quantity_short + _short.c.units)
)


async def _count_short(session: Session, units: Mapping[UUID, int]) -> None:
    await session.execute(_COUNT_SHORT, {"line_ids": list(units), "units": list(units.values())})


_OPEN_HERE = (
    sa.select(
        FulfillmentOrderLine.order_line_id,
        sa.func.sum(
            FulfillmentOrderLine.quantity
            - FulfillmentOrderLine.quantity_shipped
            - FulfillmentOrderLine.quantity_short
            - FulfillmentOrderLine.quantity_cancelled
        ),
    )
    .join(FulfillmentOrder, FulfillmentOrder.id == FulfillmentOrderLine.fulfillment_order_id)
    .where(
        FulfillmentOrder.order_id == sa.bindparam("order_id", type_=sa.Uuid()),
        FulfillmentOrder.location_id == sa.bindparam("location_id", type_=sa.Uuid()),
        FulfillmentOrder.status.in_(sorted(LIVE)),
    )
    .group_by(FulfillmentOrderLine.order_line_id)
)
_ALLOCATED_HERE = (
    sa.select(Allocation.order_line_id, sa.func.sum(Allocation.quantity))
    .where(
        Allocation.order_id == sa.bindparam("order_id", type_=sa.Uuid()),
        Allocation.location_id == sa.bindparam("location_id", type_=sa.Uuid()),
    )
    .group_by(Allocation.order_line_id)
)


async def _loose_units(
    session: Session, change: FulfillmentChange, missing: Mapping[UUID, int]
) -> dict[UUID, int]:
    """Allocated units that the location is not going to send: the missing ones.

    A count may have found the same gap before and taken the units away already;
    then they are not allocated here any more, and stock must not fall twice.
    """
    here = {"order_id": change.order.id, "location_id": change.location_id}
    still_open = {line_id: int(units) for line_id, units in await session.execute(_OPEN_HERE, here)}
    allocated = {line_id: int(units) for line_id, units in await session.execute(_ALLOCATED_HERE, here)}
    loose = {
        line_id: min(units, allocated.get(line_id, 0) - still_open.get(line_id, 0))
        for line_id, units in missing.items()
    }
    return {line_id: units for line_id, units in loose.items() if units > 0}
