"""Goods that left though nobody had asked for them (any more): the ledger and staff are told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from db.engine import Session
from domain.discrepancies import DiscrepancyKind
from domain.fulfillment import FulfillmentOrderStatus
from domain.ids import Prefix, format_id
from services import departures, discrepancies
from services.fulfillment import FulfillmentChange
from services.shipments import ShipmentChange


def told(discrepancy_id: UUID | None) -> tuple[UUID, ...]:
    """The discrepancy that was recorded, if it was not known already."""
    return (discrepancy_id,) if discrepancy_id is not None else ()


async def left_for_nobody(
    session: Session,
    change: FulfillmentChange,
    units: Mapping[UUID, int],
    occurred_at: datetime | None,
    cancelled: ShipmentChange | None,
) -> tuple[UUID, ...]:
    """Goods left that were not to leave any more: the ledger loses them, staff are told."""
    subject = cancelled.id if cancelled is not None else change.id
    found = await discrepancies.record_discrepancy(
        session,
        change.order,
        DiscrepancyKind.EXCESS_DISPATCH
        if change.status is FulfillmentOrderStatus.CLOSED
        else DiscrepancyKind.DISPATCH_AFTER_CANCELLATION,
        subject_kind="SHIPMENT" if cancelled is not None else "FULFILLMENT_ORDER",
        subject_id=subject,
        report=_report(units),
        details={"status": change.status, "lines": _lines_told(change, units)},
    )
    if found is not None:
        await departures.take_lines(
            session,
            change,
            units,
            units,
            reference=format_id(Prefix.DISCREPANCY, found),
            occurred_at=occurred_at,
        )
    return told(found)


def _report(units: Mapping[UUID, int]) -> str:
    """Names a report by what it says: the same said again is the same report."""
    return ";".join(f"{line_id}:{quantity}" for line_id, quantity in sorted(units.items()))


def _lines_told(change: FulfillmentChange, units: Mapping[UUID, int]) -> list[dict[str, Any]]:
    return [
        {
            "fulfillmentOrderLineId": str(line_id),
            "orderLineId": str(change.lines[line_id].order_line_id),
            "quantity": quantity,
        }
        for line_id, quantity in units.items()
        if quantity
    ]


async def left_in_excess(
    session: Session,
    change: FulfillmentChange,
    shipment: ShipmentChange,
    beyond: Mapping[UUID, int],
    occurred_at: datetime | None,
) -> tuple[UUID, ...]:
    """More left than the order wanted: the ledger loses it all, the order takes what it wanted."""
    if not any(beyond.values()):
        return ()
    reference = format_id(Prefix.SHIPMENT, shipment.id)
    await departures.take_lines(session, change, beyond, beyond, reference=reference, occurred_at=occurred_at)
    return told(
        await discrepancies.record_discrepancy(
            session,
            change.order,
            DiscrepancyKind.EXCESS_DISPATCH,
            subject_kind="SHIPMENT",
            subject_id=shipment.id,
            report=_report(beyond),
            details={"lines": _lines_told(change, beyond)},
        )
    )
