"""Root fields of fulfillment orders."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
import strawberry

from db.orders import Order as OrderRow
from db.search import matches_external_id
from domain.access import Scope
from domain.fulfillment import FulfillmentOrderStatus, RequestStatus
from domain.fulfillment_commands import (
    AcceptCancellation,
    AcceptFulfillmentOrder,
    HoldFulfillmentOrder,
    RejectCancellation,
    RejectFulfillmentOrder,
    ReleaseFulfillmentOrder,
)
from domain.ids import Prefix, parse_id
from resolvers.context import write
from schema.external_ids import ExternalIdFilter
from schema.fulfillment import FulfillmentOrder
from schema.fulfillment_inputs import FulfillmentOrderMarkShortInput
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
    sort_enum,
    value_type,
    where,
)
from services.fulfillment import (
    accept_fulfillment_order,
    hold_fulfillment_order,
    reject_fulfillment_order,
    release_fulfillment_order,
)
from services.short_picks import mark_short
from services.withdrawals import accept_cancellation, reject_cancellation


@filter_input(description="Which fulfillment orders: each field that is given must hold.")
class FulfillmentOrderFilter:
    status: list[FulfillmentOrderStatus] | None = among(lambda f: f.status, "In one of these statuses.")
    request_status: list[RequestStatus] | None = among(
        lambda f: f.request_status, "With one of these request statuses."
    )
    locations: list[strawberry.ID] | None = among(
        lambda f: f.location_id, "Of one of these locations.", node="loc"
    )
    orders: list[strawberry.ID] | None = among(lambda f: f.order_id, "Of one of these orders.", node="ord")
    channels: list[strawberry.ID] | None = where(
        lambda f, v: f.order_id.in_(sa.select(OrderRow.id).where(OrderRow.channel_id == sa.any_(v))),
        "Of orders of one of these channels.",
        node="chn",
    )
    order_external_id: ExternalIdFilter | None = where(
        lambda f, v: matches_external_id("ORDER", f.order_id, v),
        "Of the order that a partner's system calls so.",
    )
    created_from: datetime | None = where(lambda f, v: f.created_at >= v, "Asked for at or after.")
    created_before: datetime | None = where(lambda f, v: f.created_at < v, "Asked for before.")
    updated_from: datetime | None = where(lambda f, v: f.updated_at >= v, "Changed at or after.")
    updated_before: datetime | None = where(lambda f, v: f.updated_at < v, "Changed before.")


FulfillmentOrderSort = sort_enum(
    "FulfillmentOrderSort",
    "What fulfillment orders can be sorted by.",
    default="CREATED_AT",
    descending=True,
    CREATED_AT=lambda f: (f.created_at,),
    UPDATED_AT=lambda f: (f.updated_at,),
)


class FulfillmentQueries:
    fulfillment_order: FulfillmentOrder | None = query_one(
        FulfillmentOrder,
        by=by_id(),
        scope=Scope.SHIPMENTS_READ,
        description="One fulfillment order; null when there is none that you may see.",
    )
    fulfillment_orders: Connection[FulfillmentOrder] = query_connection(
        FulfillmentOrder,
        scope=Scope.SHIPMENTS_READ,
        filter=FulfillmentOrderFilter,
        sort=FulfillmentOrderSort,
        default_sort=("CREATED_AT", SortDirection.DESC),
        description="The fulfillment orders that you may see; a location's work list, when it asks.",
    )


@value_type(description="The fulfillment order, or why not.")
class FulfillmentOrderPayload:
    fulfillment_order: FulfillmentOrder | None
    user_errors: list[UserError] = no_errors()


def _id(given: str) -> UUID:
    return parse_id(given, Prefix.FULFILLMENT_ORDER, field=("id",))


@mutation(
    scope=Scope.SHIPMENTS_WRITE,
    description="The location will send it: OPEN becomes IN_PROGRESS. InvalidTransition in any other status.",
)
async def fulfillment_order_accept(
    info: Info, id: strawberry.ID, idempotency_key: str | None = None
) -> FulfillmentOrderPayload:
    command = AcceptFulfillmentOrder(fulfillment_order_id=_id(id))
    found = await write(info, accept_fulfillment_order, command, key=idempotency_key)
    return FulfillmentOrderPayload(fulfillment_order=ref(FulfillmentOrder, found))


@mutation(
    scope=Scope.SHIPMENTS_WRITE,
    description=(
        "The location will not send it: its units are promised from other locations, which get fulfillment orders "
        "of their own, or wait for stock."
    ),
)
async def fulfillment_order_reject(
    info: Info, id: strawberry.ID, reason: str, idempotency_key: str
) -> FulfillmentOrderPayload:
    command = RejectFulfillmentOrder(fulfillment_order_id=_id(id), reason=reason)
    found = await write(info, reject_fulfillment_order, command, key=idempotency_key)
    return FulfillmentOrderPayload(fulfillment_order=ref(FulfillmentOrder, found))


@mutation(
    scope=Scope.SHIPMENTS_WRITE,
    description="Stops work on one fulfillment order for now; others of the order go on.",
)
async def fulfillment_order_hold(
    info: Info, id: strawberry.ID, note: str | None = None, idempotency_key: str | None = None
) -> FulfillmentOrderPayload:
    command = HoldFulfillmentOrder(fulfillment_order_id=_id(id), note=note)
    found = await write(info, hold_fulfillment_order, command, key=idempotency_key)
    return FulfillmentOrderPayload(fulfillment_order=ref(FulfillmentOrder, found))


@mutation(
    scope=Scope.SHIPMENTS_WRITE,
    description="A held fulfillment order goes on where it was, in work or not yet accepted.",
)
async def fulfillment_order_release(
    info: Info, id: strawberry.ID, idempotency_key: str | None = None
) -> FulfillmentOrderPayload:
    command = ReleaseFulfillmentOrder(fulfillment_order_id=_id(id))
    found = await write(info, release_fulfillment_order, command, key=idempotency_key)
    return FulfillmentOrderPayload(fulfillment_order=ref(FulfillmentOrder, found))


@mutation(
    scope=Scope.SHIPMENTS_WRITE,
    description=(
        "The location was asked to stop, and has: what has not left is cancelled, its stock is free, its money "
        "released. An order of which nothing is left to send, and nothing left, is CANCELLED by that."
    ),
)
async def fulfillment_order_accept_cancellation(
    info: Info, id: strawberry.ID, idempotency_key: str
) -> FulfillmentOrderPayload:
    command = AcceptCancellation(fulfillment_order_id=_id(id))
    found = await write(info, accept_cancellation, command, key=idempotency_key)
    return FulfillmentOrderPayload(fulfillment_order=ref(FulfillmentOrder, found))


@mutation(
    scope=Scope.SHIPMENTS_WRITE,
    description="The location was asked to stop, and goes on: it is too late.",
)
async def fulfillment_order_reject_cancellation(
    info: Info, id: strawberry.ID, reason: str | None = None, idempotency_key: str | None = None
) -> FulfillmentOrderPayload:
    command = RejectCancellation(fulfillment_order_id=_id(id), reason=reason)
    found = await write(info, reject_cancellation, command, key=idempotency_key)
    return FulfillmentOrderPayload(fulfillment_order=ref(FulfillmentOrder, found))


@mutation(
    scope=Scope.SHIPMENTS_WRITE,
    description=(
        "The location cannot find units that the books have: they leave the ledger, and are sent from elsewhere or "
        "wait for stock. What it has it still sends; the fulfillment order ends INCOMPLETE after that."
    ),
)
async def fulfillment_order_mark_short(
    info: Info, input: FulfillmentOrderMarkShortInput, idempotency_key: str
) -> FulfillmentOrderPayload:
    found = await write(info, mark_short, input.to_command(), key=idempotency_key)
    return FulfillmentOrderPayload(fulfillment_order=ref(FulfillmentOrder, found))
