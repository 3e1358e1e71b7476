"""Events of shipments, as subscriptions show them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import strawberry
from strawberry.scalars import JSON

from db import cursors
from db.events import EventLog
from db.shipments import Package as PackageRow
from domain.access import Scope
from domain.events import EventType
from schema import enums  # noqa: F401 - registers the enumerations that fields name
from schema.plan import BigInt, column, expression, one, planned

if TYPE_CHECKING:
    from schema.orders import Order
    from schema.shipments import Package, Shipment


def _shipment_id(event: Any) -> sa.ColumnElement[Any]:
    """The event's subject, or the shipment that its subject, a parcel, belongs to."""
    parcel = PackageRow.__table__.alias()
    of_parcel = sa.select(parcel.c.shipment_id).where(parcel.c.id == event.subject_id)
    of_parcel = of_parcel.correlate_except(parcel)  # the event may stand two levels further out
    return sa.case((event.subject_kind == "PACKAGE", of_parcel.scalar_subquery()), else_=event.subject_id)


@planned(
    EventLog,
    key="position",
    scope=Scope.EVENTS_READ,
    description=(
        "What happened to a shipment or to one of its parcels. Shown as it was at that moment; `shipment` and "
        "`order` are the present, which may be later."
    ),
)
class ShipmentEvent:
    cursor: str = expression(
        lambda event: cursors.cursor_of(event.position), "Its place in the log: follow on from here."
    )
    type: EventType = column(EventLog.type, "What happened, in the past tense.")
    version: BigInt = column(
        EventLog.version, "Its number within the order: it rises, and leaves out what is not of shipments."
    )
    occurred_at: datetime = column(
        EventLog.occurred_at, "When it happened; where a partner reported it, when the partner says so."
    )
    from_status: str | None = column(
        EventLog.from_status, "The status that was left, for a change of status."
    )
    to_status: str | None = column(
        EventLog.to_status, "The status that was arrived at, for a change of status."
    )
    details: JSON = column(
        EventLog.details, "Quantities in units, by names that depend on `type`; never personal data."
    )
    shipment: Shipment | None = one(
        "Shipment",
        lambda event, shipment: shipment.id == _shipment_id(event),
        "The shipment as it is now; null when you may not see it.",
    )
    package: Package | None = one(
        "Package",
        lambda event, package: sa.and_(event.subject_kind == "PACKAGE", package.id == event.subject_id),
        "The parcel it happened to, as it is now; null when it happened to the shipment as a whole.",
    )
    order: Order | None = one(
        "Order", lambda event, order: order.id == event.order_id, "Its order, as it is now."
    )


@strawberry.input(description="Which events to follow; each list that is given must hold the event's value.")
class ShipmentEventFilter:
    channels: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Shipments of orders from these channels (`chn_…`)."
    )
    customers: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Shipments of orders of these customers (`cus_…`)."
    )
    locations: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Shipments that leave from these locations (`loc_…`)."
    )
    types: list[EventType] | None = strawberry.field(default=None, description="Only events of these types.")
