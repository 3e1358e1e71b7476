"""Carriers that say two things under one id: every content is remembered, in the discrepancy that tells of it.

The later content counts and stands in the carrier event. The others still decide what
is told to staff, so that it does not depend on which of them came first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Row

from db.discrepancies import Discrepancy
from db.engine import Session
from db.shipments import CarrierEvent, Package
from domain.deliveries import IN_TROUBLE, STATUSES, CarrierReport, troubles
from domain.discrepancies import DiscrepancyKind
from domain.shipments import CarrierEventKind, DeliveryStatus
from services import discrepancies
from services.order_changes import OrderChange

_TOLD = sa.select(Discrepancy.report, Discrepancy.details).where(
    Discrepancy.subject_id == sa.bindparam("package_id", type_=sa.Uuid()),
    Discrepancy.kind == DiscrepancyKind.CONFLICTING_REPORT,
)


async def contents(session: Session, package_id: UUID) -> set[CarrierReport]:
    """What a parcel's reports said that came with several contents."""
    rows = await session.execute(_TOLD, {"package_id": package_id})
    return {report for row in rows for report in _read(row)}


def _read(row: Any) -> Iterable[CarrierReport]:
    for content in row.details.get("contents", []):
        yield CarrierReport(
            row.report,
            CarrierEventKind(content["kind"]),
            datetime.fromisoformat(content["occurredAt"]),
        )


async def tell(
    session: Session,
    change: OrderChange,
    package: Row[Any],
    conflicting: Collection[str],
    contents_: Collection[CarrierReport],
) -> None:
    """Tell staff of ids that came with another content, with all contents so far."""
    for report in sorted(conflicting):
        said = sorted((one.occurred_at, one.kind.value) for one in contents_ if one.id == report)
        details = {
            "partnerEventId": report,
            "shipmentId": str(package.shipment_id),
            "contents": [{"kind": kind, "occurredAt": at.isoformat()} for at, kind in said],
        }
        recorded = await discrepancies.record_discrepancy(
            session,
            change,
            DiscrepancyKind.CONFLICTING_REPORT,
            subject_kind="PACKAGE",
            subject_id=package.id,
            report=report,
            details=details,
        )
        if recorded is None:
            await session.execute(
                sa.update(Discrepancy)
                .where(
                    Discrepancy.subject_id == package.id,
                    Discrepancy.kind == DiscrepancyKind.CONFLICTING_REPORT,
                    Discrepancy.report == report,
                )
                .values(details=details)
            )


_KINDS = (
    sa.select(CarrierEvent.kind)
    .join(Package, Package.id == CarrierEvent.package_id)
    .where(Package.shipment_id == sa.bindparam("shipment_id", type_=sa.Uuid()))
    .distinct()
)
_CONFLICTS = (
    sa.select(Discrepancy.report, Discrepancy.details)
    .join(Package, Package.id == Discrepancy.subject_id)
    .where(
        Package.shipment_id == sa.bindparam("shipment_id", type_=sa.Uuid()),
        Discrepancy.kind == DiscrepancyKind.CONFLICTING_REPORT,
    )
)


async def troubles_of(session: Session, shipment_id: UUID) -> set[DeliveryStatus]:
    """What went wrong with any parcel of a shipment at any time, by all that its carrier has said."""
    parameters = {"shipment_id": shipment_id}
    kinds = (await session.execute(_KINDS, parameters)).scalars()
    found = {STATUSES[kind] for kind in kinds if kind in STATUSES}
    conflicts = await session.execute(_CONFLICTS, parameters)
    return set(troubles(report for row in conflicts for report in _read(row))) | (found & IN_TROUBLE)
