"""Root fields of shipments and of carriers' reports."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
import strawberry

from db.orders import Order as OrderRow
from db.search import matches_external_id
from db.shipments import Package as PackageRow
from domain.access import Scope
from domain.errors import InvalidInput, Refused
from domain.ids import Prefix, parse_id
from domain.shipment_commands import (
    MAX_CARRIER_EVENTS,
    CancelShipment,
    CarrierEventReport,
    ExpirePickup,
    ReadyForPickup,
    RecordCarrierEvents,
    StartPicking,
)
from domain.shipments import DeliveryStatus, ShipmentStatus
from resolvers.context import write
from schema.discrepancies import Discrepancy
from schema.external_ids import ExternalIdFilter
from schema.plan import (
    Connection,
    Info,
    SortDirection,
    UserError,
    among,
    by_id,
    filter_input,
    mutation,
    no_errors,
    query_connection,
    query_one,
    ref,
    refs,
    sort_enum,
    value_type,
    where,
)
from schema.shipment_inputs import (
    CarrierEventInput,
    ShipmentCollectInput,
    ShipmentCreateInput,
    ShipmentDispatchInput,
    ShipmentPackInput,
)
from schema.shipments import CarrierEvent, Shipment
from services.deliveries import record_carrier_events
from services.dispatches import collect_shipment, dispatch_shipment, expire_pickup
from services.outcomes import ItemOutcome
from services.shipment_cancellation import cancel_shipment
from services.shipments import (
    create_shipment,
    pack_shipment,
    ready_for_pickup,
    start_picking,
)


@filter_input(description="Which shipments: each field that is given must hold.")
class ShipmentFilter:
    status: list[ShipmentStatus] | None = among(lambda s: s.status, "In one of these statuses.")
    delivery_status: list[DeliveryStatus] | None = among(
        lambda s: s.delivery_status, "With one of these delivery statuses."
    )
    locations: list[strawberry.ID] | None = among(
        lambda s: s.location_id, "From one of these locations.", node="loc"
    )
    orders: list[strawberry.ID] | None = among(lambda s: s.order_id, "Of one of these orders.", node="ord")
    channels: list[strawberry.ID] | None = where(
        lambda s, v: s.order_id.in_(sa.select(OrderRow.id).where(OrderRow.channel_id == sa.any_(v))),
        "Of orders of one of these channels.",
        node="chn",
    )
    order_external_id: ExternalIdFilter | None = where(
        lambda s, v: matches_external_id("ORDER", s.order_id, v),
        "Of the order that a partner's system calls so.",
    )
    carrier: str | None = where(lambda s, v: s.carrier == v, "With this carrier.")
    tracking_number: str | None = where(
        lambda s, v: s.id.in_(sa.select(PackageRow.shipment_id).where(PackageRow.tracking_number == v)),
        "With a parcel that its carrier calls so.",
    )
    created_from: datetime | None = where(lambda s, v: s.created_at >= v, "Begun at or after.")
    created_before: datetime | None = where(lambda s, v: s.created_at < v, "Begun before.")
    updated_from: datetime | None = where(lambda s, v: s.updated_at >= v, "Changed at or after.")
    updated_before: datetime | None = where(lambda s, v: s.updated_at < v, "Changed before.")


ShipmentSort = sort_enum(
    "ShipmentSort",
    "What shipments can be sorted by.",
    default="CREATED_AT",
    descending=True,
    CREATED_AT=lambda s: (s.created_at,),
    UPDATED_AT=lambda s: (s.updated_at,),
)


class ShipmentQueries:
    shipment: Shipment | None = query_one(
        Shipment,
        by=by_id(),
        scope=Scope.SHIPMENTS_READ,
        description="One shipment; null when there is none that you may see.",
    )
    shipments: Connection[Shipment] = query_connection(
        Shipment,
        scope=Scope.SHIPMENTS_READ,
        filter=ShipmentFilter,
        sort=ShipmentSort,
        default_sort=("CREATED_AT", SortDirection.DESC),
        description="The shipments that you may see, the newest first unless `sort` says otherwise.",
    )


@value_type(description="The shipment, or why not.")
class ShipmentPayload:
    shipment: Shipment | None
    user_errors: list[UserError] = no_errors()


@value_type(
    description=(
        "The shipment that left. `discrepancies` are those that this report made, for staff: it did not fit "
        "everything we knew. Without a shipment, goods left that nobody had asked for any more."
    )
)
class ShipmentDeparturePayload:
    shipment: Shipment | None
    discrepancies: list[Discrepancy] | None
    user_errors: list[UserError] = no_errors()


def _id(given: str) -> UUID:
    return parse_id(given, Prefix.SHIPMENT, field=("id",))


@mutation(
    scope=Scope.SHIPMENTS_WRITE,
    description=(
        "Begins a shipment of a fulfillment order, of all or of some of its units. Optional: `shipmentDispatch` takes "
        "a fulfillment order too. Errors: QuantityExceeded, InvalidTransition when it is held or at its end."
    ),
)
async def shipment_create(info: Info, input: ShipmentCreateInput, idempotency_key: str) -> ShipmentPayload:
    found = await write(info, create_shipment, input.to_command(), key=idempotency_key)
    return ShipmentPayload(shipment=ref(Shipment, found))


@mutation(scope=Scope.SHIPMENTS_WRITE, description="Its units are being taken from their shelves.")
async def shipment_start_picking(
    info: Info, id: strawberry.ID, idempotency_key: str | None = None
) -> ShipmentPayload:
    found = await write(info, start_picking, StartPicking(shipment_id=_id(id)), key=idempotency_key)
    return ShipmentPayload(shipment=ref(Shipment, found))


@mutation(
    scope=Scope.SHIPMENTS_WRITE,
    description="Its units are in their parcels. A parcel can be given its tracking number now, or with the dispatch.",
)
async def shipment_pack(
    info: Info, input: ShipmentPackInput, idempotency_key: str | None = None
) -> ShipmentPayload:
    found = await write(info, pack_shipment, input.to_command(), key=idempotency_key)
    return ShipmentPayload(shipment=ref(Shipment, found))


@mutation(
    scope=Scope.SHIPMENTS_WRITE,
    description=(
        "Goods left with a carrier. A fact, recorded whatever the books say: the ledger loses the units, the order's "
        "claims on them end, what is due for them is captured. Said twice, it is once. A cancellation that was under "
        "way came too late by it, and a return is opened."
    ),
)
async def shipment_dispatch(
    info: Info, input: ShipmentDispatchInput, idempotency_key: str
) -> ShipmentDeparturePayload:
    found, told = await write(info, dispatch_shipment, input.to_command(), key=idempotency_key)
    return ShipmentDeparturePayload(shipment=ref(Shipment, found), discrepancies=refs(Discrepancy, told))


@mutation(
    scope=Scope.SHIPMENTS_WRITE,
    description="It waits at its location for the customer; its units leave stock when they are collected.",
)
async def shipment_ready_for_pickup(
    info: Info, id: strawberry.ID, idempotency_key: str | None = None
) -> ShipmentPayload:
    found = await write(info, ready_for_pickup, ReadyForPickup(shipment_id=_id(id)), key=idempotency_key)
    return ShipmentPayload(shipment=ref(Shipment, found))


@mutation(
    scope=Scope.SHIPMENTS_WRITE,
    description="The customer has taken it. A fact, like a dispatch; its units count as delivered.",
)
async def shipment_collect(
    info: Info, input: ShipmentCollectInput, idempotency_key: str
) -> ShipmentDeparturePayload:
    found, told = await write(info, collect_shipment, input.to_command(), key=idempotency_key)
    return ShipmentDeparturePayload(shipment=ref(Shipment, found), discrepancies=refs(Discrepancy, told))


@mutation(
    scope=Scope.SHIPMENTS_WRITE,
    description="The customer did not come: its units are cancelled, free to sell, and their money is given back.",
)
async def shipment_expire_pickup(info: Info, id: strawberry.ID, idempotency_key: str) -> ShipmentPayload:
    found = await write(info, expire_pickup, ExpirePickup(shipment_id=_id(id)), key=idempotency_key)
    return ShipmentPayload(shipment=ref(Shipment, found))


@mutation(
    scope=Scope.SHIPMENTS_WRITE,
    description="Undoes a shipment that has not left; its units can go into another one.",
)
async def shipment_cancel(
    info: Info, id: strawberry.ID, reason: str | None = None, idempotency_key: str | None = None
) -> ShipmentPayload:
    command = CancelShipment(shipment_id=_id(id), reason=reason)
    found = await write(info, cancel_shipment, command, key=idempotency_key)
    return ShipmentPayload(shipment=ref(Shipment, found))


@value_type(description="The answer for one report.")
class CarrierEventResult:
    index: int
    carrier_event: CarrierEvent | None
    user_errors: list[UserError] = no_errors()


@value_type(description="One result a report, in their order; userErrors are those of the batch as a whole.")
class CarrierEventsPayload:
    results: list[CarrierEventResult] | None
    user_errors: list[UserError] = no_errors()


@mutation(
    scope=Scope.SHIPMENTS_WRITE,
    description=(
        "Records up to 100 reports of carriers, on parcels of any number of shipments. Facts: sent twice they are "
        "once, out of order they come to the same, and one that fits nothing is recorded with a discrepancy. Each "
        "is answered for itself: one of an unknown parcel stops no other."
    ),
)
async def carrier_events_record(
    info: Info, events: list[CarrierEventInput], idempotency_key: str | None = None
) -> CarrierEventsPayload:
    if not 1 <= len(events) <= MAX_CARRIER_EVENTS:
        message = f"Send 1 to {MAX_CARRIER_EVENTS} events at once."
        raise Refused(InvalidInput(message=message, field=("events",)))
    reports: dict[int, CarrierEventReport] = {}
    answers: dict[int, ItemOutcome] = {}
    for index, event in enumerate(events):
        try:
            reports[index] = event.to_report("events", str(index))
        except Refused as refused:
            answers[index] = ItemOutcome(id=None, errors=refused.errors)
    if reports:
        command = RecordCarrierEvents(events=tuple(reports.values()))
        outcomes = await write(info, record_carrier_events, command, key=idempotency_key)
        answers |= dict(zip(reports, outcomes, strict=True))
    return CarrierEventsPayload(
        results=[
            CarrierEventResult(
                index=index,
                carrier_event=ref(CarrierEvent, answers[index].id),
                user_errors=list(answers[index].errors),  # type: ignore[arg-type] # shown as their GraphQL types
            )
            for index in range(len(events))
        ]
    )
