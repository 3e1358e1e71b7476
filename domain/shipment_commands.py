"""What warehouses and carriers tell us of shipments, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain import text
from domain.checks import Checks
from domain.shipments import CarrierEventKind

MAX_PACKAGES = 100
MAX_CARRIER_EVENTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipUnits:
    """Units of one line of a fulfillment order."""

    fulfillment_order_line_id: UUID
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A parcel as the warehouse labelled it; `carrier` where it is not the shipment's."""

    tracking_number: str | None = None
    carrier: str | None = None
    tracking_url: str | None = None
    weight_grams: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateShipment:
    """Begin a shipment of a fulfillment order: `lines`, or all that has yet to leave."""

    fulfillment_order_id: UUID
    lines: tuple[ShipUnits, ...] = ()
    packages: tuple[Parcel, ...] = ()
    carrier: str | None = None
    service: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchShipment:
    """A fact: the shipment left, at that time (None: now), in these parcels (none: as packed)."""

    shipment_id: UUID
    carrier: str | None = None
    service: str | None = None
    packages: tuple[Parcel, ...] = ()
    shipped_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierEventReport:
    """One report; the carrier's `partner_event_id` names it however often it is sent."""

    partner_event_id: str
    kind: CarrierEventKind
    occurred_at: datetime
    place: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordCarrierEvents:
    """Facts of one parcel, found by its id or by carrier and tracking number."""

    events: tuple[CarrierEventReport, ...]
    package_id: UUID | None = None
    carrier: str | None = None
    tracking_number: str | None = None


def check_parcels(checks: Checks, packages: tuple[Parcel, ...], *at: str) -> None:
    checks.that(len(packages) <= MAX_PACKAGES, f"There are at most {MAX_PACKAGES} packages.", *at)
    for index, parcel in enumerate(packages[:MAX_PACKAGES]):
        checks.text(parcel.tracking_number, text.MAX_CODE, *at, str(index), "trackingNumber")
        checks.text(parcel.carrier, text.MAX_CODE, *at, str(index), "carrier")
        checks.text(parcel.tracking_url, text.MAX_URL, *at, str(index), "trackingUrl")
        checks.that(
            parcel.tracking_url is None or parcel.tracking_url.startswith(("https://", "http://")),
            "A tracking URL begins with https:// or http://.",
            *at,
            str(index),
            "trackingUrl",
        )
        checks.that(
            parcel.weight_grams is None or 0 < parcel.weight_grams <= 10**8,
            "A weight is between 1 g and 100 t.",
            *at,
            str(index),
            "weightGrams",
        )


def check_dispatch_shipment(command: DispatchShipment) -> None:
    checks = Checks()
    checks.text(command.carrier, text.MAX_CODE, "carrier")
    checks.text(command.service, text.MAX_CODE, "service")
    check_parcels(checks, command.packages, "packages")
    checks.refuse()


def check_record_carrier_events(command: RecordCarrierEvents) -> None:
    """Refused with every error of form at once."""
    checks = Checks()
    by_number = command.tracking_number is not None and command.carrier is not None
    checks.that(
        (command.package_id is not None) != by_number,
        "Name the package by its id, or by carrier and tracking number.",
        "packageId",
    )
    checks.that(
        1 <= len(command.events) <= MAX_CARRIER_EVENTS,
        f"Send 1 to {MAX_CARRIER_EVENTS} events at once.",
        "events",
    )
    for index, event in enumerate(command.events[:MAX_CARRIER_EVENTS]):
        at = ("events", str(index))
        checks.text(event.partner_event_id, text.MAX_EXTERNAL_ID, *at, "partnerEventId")
        checks.text(event.place, text.MAX_LINE, *at, "place")
        checks.text(event.description, text.MAX_NOTE, *at, "description", multiline=True)
        aware = event.occurred_at.tzinfo is not None
        checks.that(aware, "A time says its offset, such as 2026-01-31T12:00:00Z.", *at, "occurredAt")
    checks.refuse()
