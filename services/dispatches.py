"""Shipments leave: dispatched to a carrier, collected by the customer, or not collected after all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from db.engine import Session
from db.shipments import Shipment, ShipmentLine
from domain.access import Principal
from domain.discrepancies import DiscrepancyKind
from domain.events import EventType
from domain.fulfillment import LIVE, FulfillmentOrderStatus, RequestStatus
from domain.ids import Prefix, format_id
from domain.returns import ReturnReason
from domain.shipment_commands import (
    CollectShipment,
    DispatchShipment,
    ExpirePickup,
    Parcel,
    check_collect_shipment,
    check_dispatch_shipment,
)
from domain.shipments import LEFT, SHIPMENT, ShipmentStatus
from services import (
    deliveries,
    departures,
    discrepancies,
    fulfillment,
    packages,
    shipment_cancellation,
    shipments,
    short_picks,
    stray_departures,
    withdrawals,
)
from services.fulfillment import FulfillmentChange, load_fulfillment_order, lock_fulfillment_order
from services.order_changes import save
from services.return_requests import open_return
from services.shipments import ShipmentChange, lock_shipment
from services.stray_departures import told


@dataclass(frozen=True, slots=True, kw_only=True)
class _Labels:
    """Under what a shipment leaves."""

    carrier: str | None = None
    service: str | None = None
    packages: tuple[Parcel, ...] = ()


async def dispatch_shipment(
    session: Session, command: DispatchShipment, /, *, actor: Principal, now: datetime
) -> tuple[UUID | None, tuple[UUID, ...]]:
    """Record that goods left with a carrier. A fact: it is never refused for what the books say.

    Answers the shipment's id and those of the discrepancies that were recorded.
    There is no shipment when the goods of a cancelled fulfillment order left: then
    only the ledger and a discrepancy tell of it. A report that is repeated changes
    nothing. Raises `Refused` for input that is malformed or names nothing visible.
    """
    check_dispatch_shipment(command)
    labels = _Labels(carrier=command.carrier, service=command.service, packages=command.packages)
    occurred_at = command.shipped_at
    if command.shipment_id is not None:
        shipment = await lock_shipment(session, command.shipment_id, actor=actor, now=now)
        return await _leave_as(session, shipment, ShipmentStatus.SHIPPED, labels, occurred_at)
    assert command.fulfillment_order_id is not None  # noqa: S101 - checked above
    change = await lock_fulfillment_order(
        session, command.fulfillment_order_id, actor=actor, now=now, field_name="fulfillmentOrderId"
    )
    units = shipments.sum_units(change, command.lines) or _everything(change)
    answer = await _leave_unannounced(session, change, units, ShipmentStatus.SHIPPED, labels, occurred_at)
    await save(session, change.order)
    return answer


def _everything(change: FulfillmentChange) -> dict[UUID, int]:
    """What a dispatch that names no lines is about: what is left to send, or was when it was called off."""
    called_off = change.status not in (
        *LIVE,
        FulfillmentOrderStatus.CLOSED,
        FulfillmentOrderStatus.INCOMPLETE,
    )
    units = {
        line_id: line.quantity_cancelled + change.open_units[line_id]
        if called_off
        else change.open_units[line_id]
        for line_id, line in change.lines.items()
    }
    return {line_id: quantity for line_id, quantity in units.items() if quantity}


async def collect_shipment(
    session: Session, command: CollectShipment, /, *, actor: Principal, now: datetime
) -> tuple[UUID | None, tuple[UUID, ...]]:
    """Record that the customer took the goods at the location; answers like `dispatch_shipment`."""
    check_collect_shipment(command)
    shipment = await lock_shipment(session, command.shipment_id, actor=actor, now=now)
    return await _leave_as(session, shipment, ShipmentStatus.COLLECTED, _Labels(), command.collected_at)


async def expire_pickup(
    session: Session, command: ExpirePickup, /, *, actor: Principal, now: datetime
) -> UUID:
    """The customer did not come: the units go back to their shelf, are cancelled, and money for them is given back."""
    shipment = await lock_shipment(session, command.shipment_id, actor=actor, now=now)
    await shipments.move(session, shipment, ShipmentStatus.PICKUP_EXPIRED)
    await shipments.count_picked(session, shipment, back=True)
    change = await load_fulfillment_order(session, shipment.order, shipment.row.fulfillment_order_id)
    units = shipments.units_of(shipment)
    await withdrawals.withdraw(session, change, {line_id: units.get(line_id, 0) for line_id in change.lines})
    await save(session, shipment.order)
    return shipment.id


async def _leave_as(
    session: Session,
    shipment: ShipmentChange,
    status: ShipmentStatus,
    labels: _Labels,
    occurred_at: datetime | None,
) -> tuple[UUID | None, tuple[UUID, ...]]:
    """A shipment we know is reported to have left."""
    change = await load_fulfillment_order(session, shipment.order, shipment.row.fulfillment_order_id)
    answer: tuple[UUID | None, tuple[UUID, ...]]
    if shipment.status is status:
        answer = shipment.id, await _said_again(session, shipment, labels)
    elif SHIPMENT.can(shipment.status, status) and change.status in LIVE:
        rows = await departures.order_units(session, change.order)
        answer = shipment.id, await _leave(session, change, shipment, rows, status, labels, occurred_at)
    elif shipment.status is ShipmentStatus.CANCELLED:
        # It was undone here and left all the same: its units count as an unannounced departure.
        answer = await _leave_unannounced(
            session, change, shipments.units_of(shipment), status, labels, occurred_at, cancelled=shipment
        )
    else:
        answer = shipment.id, await _unexpected(session, shipment, status)
    await save(session, shipment.order)
    return answer


async def _said_again(session: Session, shipment: ShipmentChange, labels: _Labels) -> tuple[UUID, ...]:
    """A repeated report: nothing happens, unless it names parcels nobody had named."""
    known = {package.tracking_number for package in shipment.packages}
    new = [parcel for parcel in labels.packages if parcel.tracking_number not in known]
    if not new:
        return ()
    return told(
        await discrepancies.record_discrepancy(
            session,
            shipment.order,
            DiscrepancyKind.CONFLICTING_REPORT,
            subject_kind="SHIPMENT",
            subject_id=shipment.id,
            report=",".join(sorted(str(parcel.tracking_number) for parcel in new)),
            details={"trackingNumbers": [parcel.tracking_number for parcel in new]},
        )
    )


async def _unexpected(session: Session, shipment: ShipmentChange, status: ShipmentStatus) -> tuple[UUID, ...]:
    return told(
        await discrepancies.record_discrepancy(
            session,
            shipment.order,
            DiscrepancyKind.UNEXPECTED_REPORT,
            subject_kind="SHIPMENT",
            subject_id=shipment.id,
            report=f"{shipment.status}-{status}",
            details={"status": shipment.status, "reported": status},
        )
    )


async def _leave_unannounced(
    session: Session,
    change: FulfillmentChange,
    units: Mapping[UUID, int],
    status: ShipmentStatus,
    labels: _Labels,
    occurred_at: datetime | None,
    *,
    cancelled: ShipmentChange | None = None,
) -> tuple[UUID | None, tuple[UUID, ...]]:
    """Units of a fulfillment order left without a shipment of ours; one is made of what it wanted."""
    if not units:
        return await _last_shipment(session, change), ()
    rows = await departures.order_units(session, change.order)
    asked = departures.within(change, rows, units)
    wanted = {line_id: quantity for line_id, quantity in asked.items() if quantity}
    if change.status not in LIVE or not wanted:
        return None, await stray_departures.left_for_nobody(session, change, units, occurred_at, cancelled)
    shipment = await shipments.insert_shipment(
        session, change, wanted, carrier=labels.carrier, service=labels.service
    )
    found = await _leave(session, change, shipment, rows, status, labels, occurred_at)
    beyond = {line_id: quantity - asked[line_id] for line_id, quantity in units.items()}
    found += await stray_departures.left_in_excess(session, change, shipment, beyond, occurred_at)
    return shipment.id, found


async def _last_shipment(session: Session, change: FulfillmentChange) -> UUID | None:
    """What answers a report that everything has left once more."""
    return (
        await session.execute(
            sa.select(Shipment.id)
            .where(Shipment.fulfillment_order_id == change.id, Shipment.status.in_(sorted(LEFT)))
            .order_by(Shipment.id.desc())
            .limit(1)
        )
    ).scalar_one_or_none()


async def _leave(
    session: Session,
    change: FulfillmentChange,
    shipment: ShipmentChange,
    rows: Sequence[Any],
    status: ShipmentStatus,
    labels: _Labels,
    occurred_at: datetime | None,
) -> tuple[UUID, ...]:
    """The shipment leaves, and everything that follows from it; `rows` are the order's lines before."""
    found: tuple[UUID, ...] = ()
    if change.status is FulfillmentOrderStatus.ON_HOLD:
        found = await _left_while_held(session, change, shipment)
    else:
        await shipments.begin_work(session, change)
    units = shipments.units_of(shipment)
    asked = departures.within(change, rows, units)
    beyond = {line_id: quantity - asked[line_id] for line_id, quantity in units.items()}
    if any(beyond.values()):
        shipment = await _shrink(session, shipment, asked)
        found += await stray_departures.left_in_excess(session, change, shipment, beyond, occurred_at)
    await departures.take_lines(
        session, change, asked, {}, reference=format_id(Prefix.SHIPMENT, shipment.id), occurred_at=occurred_at
    )
    picked = shipment.status in shipments.PICKED
    await departures.count_shipped(session, change, asked, picked_before=picked)
    await packages.label_packages(
        session,
        shipment,
        labels.packages,
        carrier=labels.carrier or shipment.row.carrier,
        needed=status is ShipmentStatus.SHIPPED,
    )
    await shipments.move(
        session,
        shipment,
        status,
        details={"quantity": sum(asked.values())},
        occurred_at=occurred_at,
        carrier=labels.carrier or shipment.row.carrier,
        service=labels.service or shipment.row.service,
        shipped_at=occurred_at or change.order.now,
        **({"delivered_at": occurred_at or change.order.now} if status is ShipmentStatus.COLLECTED else {}),
    )
    await _tell_location(session, change, shipment)
    if status is ShipmentStatus.SHIPPED and any(package.delivery_status for package in shipment.packages):
        await deliveries.settle_shipment(session, change.order, shipment.id)
    change.order.values["dispatched_at"] = occurred_at or change.order.now
    of_lines = fulfillment.of_order_lines(change, asked)
    await departures.capture_for(session, change.order, rows, of_lines)
    return found


async def _left_while_held(
    session: Session, change: FulfillmentChange, shipment: ShipmentChange
) -> tuple[UUID, ...]:
    """It was to wait and left: the location has evidently accepted it and gone on."""
    found = await discrepancies.record_discrepancy(
        session,
        change.order,
        DiscrepancyKind.UNEXPECTED_REPORT,
        subject_kind="SHIPMENT",
        subject_id=shipment.id,
        report=FulfillmentOrderStatus.ON_HOLD,
        details={"fulfillmentOrderStatus": FulfillmentOrderStatus.ON_HOLD},
    )
    accepted = change.request is RequestStatus.SUBMITTED
    await fulfillment.move(
        session,
        change,
        status=FulfillmentOrderStatus.IN_PROGRESS,
        request=RequestStatus.ACCEPTED if accepted else None,
        event=EventType.FULFILLMENT_ORDER_RELEASED,
    )
    return told(found)


async def _shrink(session: Session, shipment: ShipmentChange, asked: Mapping[UUID, int]) -> ShipmentChange:
    """Keep of a shipment's lines what the order still wants: a part was cancelled meanwhile."""
    left = dict(asked)
    for line in shipment.lines:
        kept = min(line.quantity, left.get(line.fulfillment_order_line_id, 0))
        left[line.fulfillment_order_line_id] = left.get(line.fulfillment_order_line_id, 0) - kept
        if kept:
            await session.execute(
                sa.update(ShipmentLine).where(ShipmentLine.id == line.id).values(quantity=kept)
            )
        else:
            await session.execute(sa.delete(ShipmentLine).where(ShipmentLine.id == line.id))
    return await shipments.load_shipment(session, shipment.order, shipment.id)


async def _tell_location(session: Session, change: FulfillmentChange, shipment: ShipmentChange) -> None:
    """End the fulfillment order with its last unit; a cancellation that was under way came too late."""
    if change.request is RequestStatus.CANCELLATION_REQUESTED:
        await fulfillment.move(
            session,
            change,
            request=RequestStatus.CANCELLATION_REJECTED,
            event=EventType.FULFILLMENT_CANCELLATION_REJECTED,
            details={"shipmentId": str(shipment.id)},
        )
        await open_return(
            session,
            change.order,
            {line.order_line_id: line.quantity for line in shipment.lines},
            location_id=change.location_id,
            reason=ReturnReason.CANCELLED_TOO_LATE,
        )
    await shipment_cancellation.cancel_overtaken(session, change)
    await short_picks.end_if_done(session, change)
