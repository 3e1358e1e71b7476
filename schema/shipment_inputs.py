"""What warehouses and carriers send about shipments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import strawberry

from domain.ids import Prefix, parse_id
from domain.shipment_commands import (
    CarrierEventReport,
    CollectShipment,
    CreateShipment,
    DispatchShipment,
    PackShipment,
    Parcel,
    ShipUnits,
)
from domain.shipments import CarrierEventKind
from schema import enums  # noqa: F401 - registers the enumerations that fields name


@strawberry.input(description="Units of a line of a fulfillment order.")
class ShipUnitsInput:
    fulfillment_order_line_id: strawberry.ID
    quantity: int = strawberry.field(description="Units, at least 1.")

    def to_units(self, *at: str) -> ShipUnits:
        return ShipUnits(
            fulfillment_order_line_id=parse_id(
                self.fulfillment_order_line_id,
                Prefix.FULFILLMENT_ORDER_LINE,
                field=(*at, "fulfillmentOrderLineId"),
            ),
            quantity=self.quantity,
        )


@strawberry.input(description="A parcel as the warehouse labelled it.")
class ParcelInput:
    tracking_number: str | None = strawberry.field(
        default=None, description="What the carrier calls it; carriers' reports find it by that."
    )
    tracking_url: str | None = strawberry.field(
        default=None, description="Where a person can follow it; http or https."
    )
    carrier: str | None = strawberry.field(
        default=None, description="Who carries it, where it is not the shipment's carrier."
    )
    weight_grams: int | None = strawberry.field(default=None, description="Its weight in grams.")

    def to_parcel(self) -> Parcel:
        return Parcel(
            tracking_number=self.tracking_number,
            tracking_url=self.tracking_url,
            carrier=self.carrier,
            weight_grams=self.weight_grams,
        )


def _units(lines: Sequence[ShipUnitsInput] | None) -> tuple[ShipUnits, ...]:
    return tuple(line.to_units("lines", str(index)) for index, line in enumerate(lines or ()))


def _parcels(packages: Sequence[ParcelInput] | None) -> tuple[Parcel, ...]:
    return tuple(package.to_parcel() for package in packages or ())


@strawberry.input(description="A shipment to begin.")
class ShipmentCreateInput:
    fulfillment_order_id: strawberry.ID
    lines: list[ShipUnitsInput] | None = strawberry.field(
        default=None, description="What goes into it; by default all that is in no other shipment."
    )
    packages: list[ParcelInput] | None = strawberry.field(
        default=None, description="Its parcels, as far as they are known; at most 100."
    )
    carrier: str | None = None
    service: str | None = None

    def to_command(self) -> CreateShipment:
        return CreateShipment(
            fulfillment_order_id=parse_id(
                self.fulfillment_order_id, Prefix.FULFILLMENT_ORDER, field=("fulfillmentOrderId",)
            ),
            lines=_units(self.lines),
            packages=_parcels(self.packages),
            carrier=self.carrier,
            service=self.service,
        )


@strawberry.input(description="A shipment that has been packed.")
class ShipmentPackInput:
    shipment_id: strawberry.ID
    packages: list[ParcelInput] | None = strawberry.field(
        default=None, description="Its parcels, besides those it has; by default one."
    )
    carrier: str | None = None
    service: str | None = None

    def to_command(self) -> PackShipment:
        return PackShipment(
            shipment_id=parse_id(self.shipment_id, Prefix.SHIPMENT, field=("shipmentId",)),
            packages=_parcels(self.packages),
            carrier=self.carrier,
            service=self.service,
        )


@strawberry.input(
    description=(
        "What left: a shipment, or, by a warehouse that says nothing before, lines of a fulfillment order (all that "
        "has yet to leave, without any)."
    )
)
class ShipmentDispatchInput:
    shipment_id: strawberry.ID | None = None
    fulfillment_order_id: strawberry.ID | None = None
    lines: list[ShipUnitsInput] | None = None
    carrier: str | None = None
    service: str | None = None
    tracking_number: str | None = strawberry.field(
        default=None, description="Of its only parcel; several are described by `packages`."
    )
    packages: list[ParcelInput] | None = strawberry.field(
        default=None, description="Its parcels with their tracking numbers; by default as packed, else one."
    )
    shipped_at: datetime | None = strawberry.field(default=None, description="When it left; by default now.")

    def to_command(self) -> DispatchShipment:
        packages = _parcels(self.packages)
        if self.tracking_number is not None:
            packages = (*packages, Parcel(tracking_number=self.tracking_number))
        shipment, fulfillment_order = self.shipment_id, self.fulfillment_order_id
        return DispatchShipment(
            shipment_id=None
            if shipment is None
            else parse_id(shipment, Prefix.SHIPMENT, field=("shipmentId",)),
            fulfillment_order_id=None
            if fulfillment_order is None
            else parse_id(fulfillment_order, Prefix.FULFILLMENT_ORDER, field=("fulfillmentOrderId",)),
            lines=_units(self.lines),
            packages=packages,
            carrier=self.carrier,
            service=self.service,
            shipped_at=self.shipped_at,
        )


@strawberry.input(description="A shipment that its customer has taken.")
class ShipmentCollectInput:
    shipment_id: strawberry.ID
    collected_at: datetime | None = strawberry.field(default=None, description="When; by default now.")

    def to_command(self) -> CollectShipment:
        return CollectShipment(
            shipment_id=parse_id(self.shipment_id, Prefix.SHIPMENT, field=("shipmentId",)),
            collected_at=self.collected_at,
        )


@strawberry.input(
    description="A carrier's report on one parcel, named by our id, or by carrier and tracking number."
)
class CarrierEventInput:
    partner_event_id: str = strawberry.field(
        description="The carrier's own id of this report: sent twice, it is kept once."
    )
    kind: CarrierEventKind
    occurred_at: datetime = strawberry.field(description="When it happened, with its offset.")
    package_id: strawberry.ID | None = None
    carrier: str | None = None
    tracking_number: str | None = None
    place: str | None = strawberry.field(default=None, description="Where; at most 200 characters.")
    description: str | None = strawberry.field(default=None, description="The carrier's own words.")

    def to_report(self, *at: str) -> CarrierEventReport:
        package = self.package_id
        return CarrierEventReport(
            partner_event_id=self.partner_event_id,
            kind=self.kind,
            occurred_at=self.occurred_at,
            package_id=None
            if package is None
            else parse_id(package, Prefix.PACKAGE, field=(*at, "packageId")),
            carrier=self.carrier,
            tracking_number=self.tracking_number,
            place=self.place,
            description=self.description,
        )
