"""The parcels of a shipment, and the numbers their carriers know them by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from db.base import new_id
from db.engine import Session
from db.shipments import Package
from domain.errors import InvalidInput, Refused
from domain.shipment_commands import MAX_PACKAGES, Parcel

if TYPE_CHECKING:
    from services.shipments import ShipmentChange


async def insert_packages(
    session: Session, change: ShipmentChange, parcels: Sequence[Parcel], *, carrier: str | None
) -> None:
    """Add parcels to the shipment."""
    if not parcels:
        return
    if len(change.packages) + len(parcels) > MAX_PACKAGES:
        message = f"A shipment has at most {MAX_PACKAGES} packages."
        raise Refused(InvalidInput(message=message, field=("packages",)))
    now = change.order.now
    await session.execute(
        sa.insert(Package),
        [
            {
                "id": new_id(),
                "shipment_id": change.id,
                "carrier": parcel.carrier or carrier or change.row.carrier,
                "tracking_number": parcel.tracking_number,
                "tracking_url": parcel.tracking_url,
                "weight_grams": parcel.weight_grams,
                "created_at": now,
                "updated_at": now,
            }
            for parcel in parcels
        ],
    )


async def label_packages(
    session: Session,
    change: ShipmentChange,
    parcels: Sequence[Parcel],
    *,
    carrier: str | None,
    needed: bool,
) -> None:
    """Give parcels the numbers they leave with: packed ones without a number first, then new ones.

    With `needed` there is at least one, so that a carrier's reports have a parcel to be about.
    """
    known = {package.tracking_number for package in change.packages} - {None}
    new = [parcel for parcel in parcels if parcel.tracking_number not in known]
    bare = [package for package in change.packages if package.tracking_number is None]
    for package, parcel in zip(bare, new, strict=False):
        await session.execute(
            sa.update(Package)
            .where(Package.id == package.id)
            .values(
                tracking_number=parcel.tracking_number,
                tracking_url=parcel.tracking_url or package.tracking_url,
                carrier=parcel.carrier or carrier or package.carrier,
                weight_grams=parcel.weight_grams or package.weight_grams,
                updated_at=change.order.now,
            )
        )
    more = new[len(bare) :]
    if needed and not more and not change.packages:
        more = [Parcel()]
    await insert_packages(session, change, more, carrier=carrier)
    if carrier is not None and any(package.carrier is None for package in change.packages):
        await session.execute(
            sa.update(Package)
            .where(Package.shipment_id == change.id, Package.carrier.is_(None))
            .values(carrier=carrier, updated_at=change.order.now)
        )
