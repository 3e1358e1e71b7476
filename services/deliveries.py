"""What carriers report: kept once each, folded into where every parcel is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
from db.discrepancies import Discrepancy
from db.engine import Session
from db.shipments import CarrierEvent, Package, Shipment
from domain.access import SYSTEM, Principal, VisibilityClass
from domain.deliveries import (
    CarrierReport,
    Delivery,
    fold,
    of_shipment,
    prevailing,
    troubles,
)
from domain.discrepancies import DiscrepancyKind, DiscrepancyStatus
from domain.errors import NotFound, UserError
from domain.events import EventType
from domain.ids import Prefix, format_id
from domain.shipment_commands import (
    CarrierEventReport,
    RecordCarrierEvents,
    carrier_event_errors,
    check_record_carrier_events,
)
from domain.shipments import LEFT, CarrierEventKind, DeliveryStatus, ShipmentStatus
from services import carrier_conflicts, discrepancies
from services.events import Event
from services.order_changes import OrderChange, lock_order, save
from services.outcomes import ItemOutcome

HARMLESS_BEFORE_LEAVING = frozenset(
    {CarrierEventKind.LABEL_CREATED, CarrierEventKind.NOTE, CarrierEventKind.PICKED_UP}
)
"""Scans of a parcel that nobody has reported as dispatched and that surprise nobody: a driver's
scan at the ramp often outruns the warehouse's own report."""


async def record_carrier_events(
    session: Session, command: RecordCarrierEvents, /, *, actor: Principal, now: datetime
) -> tuple[ItemOutcome, ...]:
    """Record reports of any number of parcels; one answer per report, with the carrier event's id.

    A report sent twice is one. Reports are facts: those that fit nothing (a scan of
    a parcel that has not left, one id with two contents) are recorded with a
    discrepancy. Only a malformed report, or one of a parcel that is not visible,
    has errors of its own; the others are recorded all the same.
    """
    check_record_carrier_events(command)
    errors = [carrier_event_errors(event, "events", str(index)) for index, event in enumerate(command.events)]
    packages = await _find_packages(
        session, [event for event, wrong in zip(command.events, errors, strict=True) if not wrong], actor
    )
    changes: dict[UUID, OrderChange] = {}
    for order_id in sorted({package.order_id for package in packages.values()}):
        changes[order_id] = await lock_order(session, order_id, actor=SYSTEM, now=now)
        changes[order_id].actor = actor
    outcomes: list[ItemOutcome] = []
    reports: dict[UUID, list[tuple[int, CarrierEventReport]]] = {}
    for index, (event, wrong) in enumerate(zip(command.events, errors, strict=True)):
        package = packages.get(_key(event))
        if wrong or package is None:
            outcomes.append(ItemOutcome(id=None, errors=wrong or (_no_package(event, index),)))
        else:
            outcomes.append(ItemOutcome(id=None))
            reports.setdefault(package.id, []).append((index, event))
    for package in sorted({package.id: package for package in packages.values()}.values(), key=_id_of):
        kept = await _record(session, changes[package.order_id], package, reports.get(package.id, []))
        for index, event_id in kept.items():
            outcomes[index] = ItemOutcome(id=event_id)
    for change in changes.values():
        await save(session, change)
    return tuple(outcomes)


def _id_of(row: Row[Any]) -> UUID:
    row_id: UUID = row.id
    return row_id


PackageKey = UUID | tuple[str, str]
"""A package's id, or its tracking number and carrier."""


def _key(event: CarrierEventReport) -> PackageKey:
    if event.package_id is not None:
        return event.package_id
    return (event.tracking_number or "", event.carrier or "")


def _no_package(event: CarrierEventReport, index: int) -> UserError:
    at = ("events", str(index))
    if event.package_id is not None:
        text = format_id(Prefix.PACKAGE, event.package_id)
        message = f"There is no {text} that you may see."
        return NotFound(message=message, field=(*at, "packageId"), id=text)
    number = event.tracking_number or ""
    message = f"{event.carrier} carries no package {number} that you may see."
    return NotFound(message=message, field=(*at, "trackingNumber"), id=number)


@lru_cache(maxsize=256)
def _packages_statement(caller: VisibilityClass) -> sa.Select[Any]:
    package = Package.__table__
    return (
        sa.select(
            package.c.id,
            package.c.tracking_number,
            package.c.carrier,
            package.c.shipment_id,
            Shipment.order_id,
        )
        .join(Shipment, Shipment.id == package.c.shipment_id)
        .where(
            sa.or_(
                package.c.id == sa.any_(sa.bindparam("ids", type_=ARRAY(sa.Uuid()))),
                package.c.tracking_number == sa.any_(sa.bindparam("numbers", type_=ARRAY(sa.Text()))),
            ),
            visibility.predicate("package", package, caller),
        )
        # Carriers use their numbers again: the latest parcel is the one that is on its way.
        .order_by(package.c.id)
    )


async def _find_packages(
    session: Session, events: Iterable[CarrierEventReport], actor: Principal
) -> dict[PackageKey, Row[Any]]:
    wanted = {_key(event) for event in events}
    rows = await session.execute(
        _packages_statement(VisibilityClass.of(actor)),
        {
            "ids": [key for key in wanted if isinstance(key, UUID)],
            "numbers": [key[0] for key in wanted if not isinstance(key, UUID)],
            **visibility.values(actor),
        },
    )
    found: dict[PackageKey, Row[Any]] = {}
    for row in rows:
        found[row.id] = row
        found[(row.tracking_number, row.carrier)] = row
    return {key: row for key, row in found.items() if key in wanted}


@dataclass(slots=True)
class _Kept:
    """A stored report; `changed` when this call made it or gave it its later content."""

    id: UUID
    report: CarrierReport
    place: str | None
    description: str | None
    changed: bool = False


async def _record(
    session: Session,
    change: OrderChange,
    package: Row[Any],
    reports: Sequence[tuple[int, CarrierEventReport]],
) -> dict[int, UUID]:
    """Keep the reports of one parcel and fold them; the carrier event's id for each."""
    stored = await session.execute(
        sa.select(CarrierEvent.__table__).where(CarrierEvent.package_id == package.id)
    )
    kept = {
        row.partner_event_id: _Kept(
            row.id,
            CarrierReport(row.partner_event_id, row.kind, row.occurred_at),
            row.place,
            row.description,
        )
        for row in stored
    }
    known = set(kept)
    contents = {one.report for one in kept.values()} | await carrier_conflicts.contents(session, package.id)
    new: list[CarrierReport] = []
    answers: dict[int, UUID] = {}
    for index, event in reports:
        said = CarrierReport(event.partner_event_id, event.kind, event.occurred_at)
        if said not in contents:
            contents.add(said)
            new.append(said)
            before = kept.get(said.id)
            if before is None or prevailing(before.report, said) is said:
                event_id = new_id() if before is None else before.id
                kept[said.id] = _Kept(event_id, said, event.place, event.description, changed=True)
        answers[index] = kept[said.id].id
    await _write(session, change, package.id, kept, known)
    delivery = fold(contents)
    conflicting = {report.id for report in new} & set(delivery.conflicting)
    await carrier_conflicts.tell(session, change, package, conflicting, contents)
    for report in delivery.after_end:
        await _tell_unexpected(session, change, package, report)
    await _settle_package(session, change, package, delivery, new)
    return answers


async def _write(
    session: Session, change: OrderChange, package_id: UUID, kept: Mapping[str, _Kept], known: set[str]
) -> None:
    new = [one for one in kept.values() if one.changed and one.report.id not in known]
    if new:
        await session.execute(
            sa.insert(CarrierEvent),
            [
                {
                    "id": one.id,
                    "package_id": package_id,
                    "partner_event_id": one.report.id,
                    "kind": one.report.kind,
                    "occurred_at": one.report.occurred_at,
                    "place": one.place,
                    "description": one.description,
                    "created_at": change.now,
                }
                for one in new
            ],
        )
    for one in kept.values():
        if one.changed and one.report.id in known:
            await session.execute(
                sa.update(CarrierEvent)
                .where(CarrierEvent.id == one.id)
                .values(
                    kind=one.report.kind,
                    occurred_at=one.report.occurred_at,
                    place=one.place,
                    description=one.description,
                )
            )


async def _tell_unexpected(
    session: Session, change: OrderChange, package: Row[Any], report: str, **more: object
) -> None:
    """Put a scan that nobody expected before staff, once."""
    await discrepancies.record_discrepancy(
        session,
        change,
        DiscrepancyKind.UNEXPECTED_DELIVERY_SCAN,
        subject_kind="PACKAGE",
        subject_id=package.id,
        report=report,
        details={"partnerEventId": report, "shipmentId": str(package.shipment_id), **more},
    )


async def _settle_package(
    session: Session,
    change: OrderChange,
    package: Row[Any],
    delivery: Delivery,
    new: Sequence[CarrierReport],
) -> None:
    row = (
        await session.execute(
            sa.select(Package.delivery_status, Package.delivered_at, Shipment.status, Shipment.location_id)
            .join(Shipment, Shipment.id == Package.shipment_id)
            .where(Package.id == package.id)
        )
    ).one()
    if row.status not in LEFT:
        # Kept, and told to staff once each.
        for report in new:
            if report.kind not in HARMLESS_BEFORE_LEAVING:
                await _tell_unexpected(
                    session, change, package, report.id, reported=report.kind, shipmentStatus=row.status
                )
    moved = delivery.status is not row.delivery_status or delivery.delivered_at != row.delivered_at
    if moved:
        await _move_package(session, change, package, delivery, row)
    if moved or troubles(new):
        await settle_shipment(session, change, package.shipment_id)


async def _move_package(
    session: Session, change: OrderChange, package: Row[Any], delivery: Delivery, row: Any
) -> None:
    await session.execute(
        sa.update(Package)
        .where(Package.id == package.id)
        .values(delivery_status=delivery.status, delivered_at=delivery.delivered_at, updated_at=change.now)
    )
    if delivery.status is not row.delivery_status:
        change.record(
            Event(
                type=EventType.DELIVERY_UPDATED,
                subject_kind="PACKAGE",
                subject_id=package.id,
                location_id=row.location_id,
                details={
                    "shipmentId": str(package.shipment_id),
                    "from": row.delivery_status,
                    "to": delivery.status,
                },
                occurred_at=delivery.delivered_at,
            )
        )


_SETTLED = sa.select(sa.func.count()).where(
    Discrepancy.subject_id == sa.bindparam("shipment_id", type_=sa.Uuid()),
    Discrepancy.kind == DiscrepancyKind.UNEXPECTED_DELIVERY_SCAN,
    Discrepancy.details["deliveryStatus"].astext == sa.bindparam("status", type_=sa.Text()),
    Discrepancy.status == DiscrepancyStatus.RESOLVED,
)
"""How often this trouble of the shipment was settled before."""


async def settle_shipment(session: Session, change: OrderChange, shipment_id: UUID) -> None:
    """Derive a shipment's delivery from its parcels'; one that has not left has none yet."""
    shipment = (
        await session.execute(
            sa.select(Shipment.status, Shipment.delivery_status, Shipment.delivered_at).where(
                Shipment.id == shipment_id
            )
        )
    ).one()
    if shipment.status is not ShipmentStatus.SHIPPED:
        return
    packages = (
        await session.execute(
            sa.select(Package.delivery_status, Package.delivered_at).where(Package.shipment_id == shipment_id)
        )
    ).all()
    status = of_shipment(package.delivery_status for package in packages)
    delivered_at = (
        max(package.delivered_at for package in packages) if status is DeliveryStatus.DELIVERED else None
    )
    if status is not shipment.delivery_status or delivered_at != shipment.delivered_at:
        await session.execute(
            sa.update(Shipment)
            .where(Shipment.id == shipment_id)
            .values(delivery_status=status, delivered_at=delivered_at, updated_at=change.now)
        )
    if status is None:
        return
    told = dict.fromkeys(sorted(await carrier_conflicts.troubles_of(session, shipment_id)), 1)
    if status in told and status is not shipment.delivery_status:
        settled = await session.execute(_SETTLED, {"shipment_id": shipment_id, "status": status})
        # Told once until it is settled; the same trouble later is another one.
        told[status] = settled.scalar_one() + 1
    for trouble, times in told.items():
        await discrepancies.record_discrepancy(
            session,
            change,
            DiscrepancyKind.UNEXPECTED_DELIVERY_SCAN,
            subject_kind="SHIPMENT",
            subject_id=shipment_id,
            report=f"{trouble}:{times}",
            details={"deliveryStatus": trouble},
        )
