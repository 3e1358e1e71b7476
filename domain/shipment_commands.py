"""What warehouses and carriers tell us of shipments, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain import text
from domain.checks import Checks
from domain.errors import UserError
from domain.shipments import CarrierEventKind

MAX_LINES = 500
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
class StartPicking:
    shipment_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class PackShipment:
    """Packed into these parcels, besides those it has; without any it is one, to be described later."""

    shipment_id: UUID
    packages: tuple[Parcel, ...] = ()
    carrier: str | None = None
    service: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchShipment:
    """A fact: it left, at that time (None: now), in these parcels (none: as packed).

    Either a shipment of ours, or `lines` of a fulfillment order (all that has yet
    to leave, when there are none) by a warehouse that says nothing before.
    """

    shipment_id: UUID | None = None
    fulfillment_order_id: UUID | None = None
    lines: tuple[ShipUnits, ...] = ()
    carrier: str | None = None
    service: str | None = None
    packages: tuple[Parcel, ...] = ()
    shipped_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyForPickup:
    shipment_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectShipment:
    """A fact: the customer took it, at that time (None: now)."""

    shipment_id: UUID
    collected_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpirePickup:
    """The customer did not come: its units go back to stock and are cancelled."""

    shipment_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelShipment:
    shipment_id: UUID
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierEventReport:
    """One report on one parcel, named by our id or by carrier and tracking number.

    The carrier's `partner_event_id` names the report however often it is sent.
    """

    partner_event_id: str
    kind: CarrierEventKind
    occurred_at: datetime
    package_id: UUID | None = None
    carrier: str | None = None
    tracking_number: str | None = None
    place: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordCarrierEvents:
    """Facts of parcels, of any number of shipments; each is answered for itself."""

    events: tuple[CarrierEventReport, ...]


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


def check_create_shipment(command: CreateShipment) -> None:
    checks = Checks()
    _check_labels(checks, command.carrier, command.service, command.packages)
    _check_units(checks, command.lines)
    checks.refuse()


def check_pack_shipment(command: PackShipment) -> None:
    checks = Checks()
    _check_labels(checks, command.carrier, command.service, command.packages)
    checks.refuse()


def check_dispatch_shipment(command: DispatchShipment) -> None:
    checks = Checks()
    by_order = command.fulfillment_order_id is not None
    checks.that(
        (command.shipment_id is not None) != by_order,
        "Name a shipment, or a fulfillment order and what left of it.",
        "shipmentId",
    )
    checks.that(by_order or not command.lines, "A shipment's lines are known already.", "lines")
    _check_labels(checks, command.carrier, command.service, command.packages)
    _check_units(checks, command.lines)
    checks.time(command.shipped_at, "shippedAt")
    checks.refuse()


def check_collect_shipment(command: CollectShipment) -> None:
    checks = Checks()
    checks.time(command.collected_at, "collectedAt")
    checks.refuse()


def check_record_carrier_events(command: RecordCarrierEvents) -> None:
    """Refused when there are too few or too many; what is wrong with one is told of that one."""
    checks = Checks()
    checks.that(
        1 <= len(command.events) <= MAX_CARRIER_EVENTS,
        f"Send 1 to {MAX_CARRIER_EVENTS} events at once.",
        "events",
    )
    checks.refuse()


def carrier_event_errors(event: CarrierEventReport, *at: str) -> tuple[UserError, ...]:
    """What is wrong with the form of one report."""
    checks = Checks()
    by_number = event.tracking_number is not None and event.carrier is not None
    checks.that(
        (event.package_id is not None) != by_number,
        "Name the package by its id, or by carrier and tracking number.",
        *at,
        "packageId",
    )
    checks.text(event.carrier, text.MAX_CODE, *at, "carrier")
    checks.text(event.tracking_number, text.MAX_CODE, *at, "trackingNumber")
    checks.text(event.partner_event_id, text.MAX_EXTERNAL_ID, *at, "partnerEventId")
    checks.text(event.place, text.MAX_LINE, *at, "place")
    checks.text(event.description, text.MAX_NOTE, *at, "description", multiline=True)
    checks.time(event.occurred_at, *at, "occurredAt")
    return tuple(checks.errors)


def _check_labels(
    checks: Checks, carrier: str | None, service: str | None, packages: tuple[Parcel, ...]
) -> None:
    checks.text(carrier, text.MAX_CODE, "carrier")
    checks.text(service, text.MAX_CODE, "service")
    check_parcels(checks, packages, "packages")


def _check_units(checks: Checks, lines: tuple[ShipUnits, ...]) -> None:
    checks.that(len(lines) <= MAX_LINES, f"Name at most {MAX_LINES} lines.", "lines")
    for index, line in enumerate(lines[:MAX_LINES]):
        checks.quantity(line.quantity, "lines", str(index), "quantity")
