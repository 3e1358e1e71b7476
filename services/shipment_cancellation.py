"""Undoing shipments of which nothing has left."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from db.engine import Session
from db.shipments import Shipment
from domain.access import Principal
from domain.fulfillment_commands import check_reason
from domain.shipment_commands import CancelShipment
from domain.shipments import ShipmentStatus
from services import shipments
from services.fulfillment import FulfillmentChange
from services.order_changes import save


async def cancel_shipment(
    session: Session, command: CancelShipment, /, *, actor: Principal, now: datetime
) -> UUID:
    """Undo a shipment that has not left: its units can go into another one."""
    check_reason(command.reason, "reason")
    change = await shipments.lock_shipment(session, command.shipment_id, actor=actor, now=now)
    picked = change.status in shipments.PICKED
    await shipments.move(session, change, ShipmentStatus.CANCELLED, cancel_reason=command.reason)
    if picked:
        await shipments.count_picked(session, change, back=True)
    await save(session, change.order)
    return change.id


async def cancel_overtaken(session: Session, change: FulfillmentChange) -> None:
    """Cancel shipments in the making whose units have left otherwise, the newest first."""
    left = change.open_units
    rows = await session.execute(
        sa.select(Shipment.id)
        .where(Shipment.fulfillment_order_id == change.id, Shipment.status.in_(shipments.WAITING))
        .order_by(Shipment.id)
    )
    for shipment_id in rows.scalars().all():
        waiting = await shipments.load_shipment(session, change.order, shipment_id)
        units = shipments.units_of(waiting)
        if all(quantity <= left[line_id] for line_id, quantity in units.items()):
            left = {line_id: open_ - units.get(line_id, 0) for line_id, open_ in left.items()}
            continue
        if waiting.status in shipments.PICKED:
            await shipments.count_picked(session, waiting, back=True)
        await shipments.move(
            session, waiting, ShipmentStatus.CANCELLED, details={"reason": "UNITS_HAVE_LEFT"}
        )
