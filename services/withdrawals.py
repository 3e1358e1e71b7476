"""Units that a location was to send and will not: it stopped when asked, or the customer did not come."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from db.engine import Session
from domain.access import Principal
from domain.events import EventType
from domain.fulfillment import FulfillmentOrderStatus, RequestStatus
from domain.fulfillment_commands import AcceptCancellation, RejectCancellation, check_reason
from services import cancellation, fulfillment, sourcing
from services.events import Event
from services.fulfillment import FulfillmentChange, lock_fulfillment_order
from services.order_changes import save


async def accept_cancellation(
    session: Session, command: AcceptCancellation, /, *, actor: Principal, now: datetime
) -> UUID:
    """The location has stopped in time: what has not left is cancelled and its stock is free again."""
    change = await lock_fulfillment_order(session, command.fulfillment_order_id, actor=actor, now=now)
    await fulfillment.move(
        session,
        change,
        request=RequestStatus.CANCELLATION_ACCEPTED,
        event=EventType.FULFILLMENT_CANCELLATION_ACCEPTED,
    )
    await fulfillment.cancel_shipments(session, change)
    await withdraw(session, change, change.open_units)
    await save(session, change.order)
    return change.id


async def reject_cancellation(
    session: Session, command: RejectCancellation, /, *, actor: Principal, now: datetime
) -> UUID:
    """The location goes on: it is too late to stop."""
    check_reason(command.reason, "reason")
    change = await lock_fulfillment_order(session, command.fulfillment_order_id, actor=actor, now=now)
    await fulfillment.move(
        session,
        change,
        request=RequestStatus.CANCELLATION_REJECTED,
        event=EventType.FULFILLMENT_CANCELLATION_REJECTED,
        note=command.reason,
    )
    await save(session, change.order)
    return change.id


async def withdraw(session: Session, change: FulfillmentChange, units: Mapping[UUID, int]) -> None:
    """Cancel units by fulfillment order line, in the order too; with none left the fulfillment order ends.

    Their claims end, the order's total falls, and the money follows.
    """
    await fulfillment.cancel_lines(session, units)
    if all(units.get(line_id, 0) == left for line_id, left in change.open_units.items()):
        await _end(session, change, units)
    of_lines = fulfillment.of_order_lines(change, units)
    await sourcing.withdraw(session, change.order, of_lines, location_id=change.location_id)
    change.order.record(
        Event(
            type=EventType.ORDER_UNITS_CANCELLED,
            subject_kind="ORDER",
            subject_id=change.order.id,
            details={"units": sum(units.values())},
        )
    )
    await cancellation.lower_total(session, change.order)


async def _end(session: Session, change: FulfillmentChange, units: Mapping[UUID, int]) -> None:
    left = any(line.quantity_shipped for line in change.lines.values())
    at_work = change.status is FulfillmentOrderStatus.IN_PROGRESS
    stopped = change.request is RequestStatus.CANCELLATION_ACCEPTED
    await fulfillment.move(
        session,
        change,
        status=FulfillmentOrderStatus.CLOSED if left and at_work else FulfillmentOrderStatus.CANCELLED,
        request=None if stopped else RequestStatus.CLOSED,
        details={"quantity": sum(units.values())},
    )
