"""Events of returns, as subscriptions show them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import strawberry
from strawberry.scalars import JSON

from db import cursors
from db.events import EventLog
from domain.access import Scope
from domain.events import EventType
from schema import enums  # noqa: F401 - registers the enumerations that fields name
from schema.plan import BigInt, column, expression, one, planned

if TYPE_CHECKING:
    from schema.orders import Order
    from schema.returns import Return


@planned(
    EventLog,
    key="position",
    scope=Scope.EVENTS_READ,
    description=(
        "What happened to a return. Shown as it was at that moment; `return` and "
        "`order` are the present, which may be later."
    ),
)
class ReturnEvent:
    cursor: str = expression(
        lambda event: cursors.cursor_of(event.position), "Its place in the log: follow on from here."
    )
    type: EventType = column(EventLog.type, "What happened, in the past tense.")
    version: BigInt = column(
        EventLog.version,
        "Its number within the order, or within the return where there is no order: it rises, and leaves out "
        "what is not of returns.",
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
    return_: Return | None = one(
        "Return",
        lambda event, found: found.id == event.return_id,
        "The return as it is now; null when you may not see it.",
        name="return",
    )
    order: Order | None = one(
        "Order",
        lambda event, order: order.id == event.order_id,
        "The order it is a return of, as it is now; null without one.",
    )


@strawberry.input(description="Which events to follow; each list that is given must hold the event's value.")
class ReturnEventFilter:
    channels: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Returns of what was bought through these channels (`chn_…`)."
    )
    customers: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Returns of these customers (`cus_…`)."
    )
    locations: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Returns to these locations (`loc_…`)."
    )
    types: list[EventType] | None = strawberry.field(default=None, description="Only events of these types.")
