"""Root fields of orders."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
import strawberry

from db.search import CANDIDATES, matches, matches_external_id
from domain.access import Scope
from domain.orders import FulfillmentStatus, OrderStatus, Origin, PaymentStatus, ReturnStatus
from resolvers.context import write
from schema.external_ids import ExternalIdFilter
from schema.order_inputs import (
    OrderCancelInput,
    OrderHoldInput,
    OrderPlaceInput,
    OrderReleaseInput,
    OrderUpdateInput,
)
from schema.orders import Order
from schema.plan import (
    Connection,
    GlobalId,
    Info,
    SortDirection,
    UserError,
    among,
    by,
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
from services.holds import hold_order, release_hold
from services.order_cancellation import cancel_order
from services.order_edits import update_order
from services.placement import place_order


@filter_input(description="Which orders: each field that is given must hold.")
class OrderFilter:
    status: list[OrderStatus] | None = among(lambda o: o.status, "In one of these statuses.")
    payment_status: list[PaymentStatus] | None = among(
        lambda o: o.payment_status, "With one of these payment statuses."
    )
    fulfillment_status: list[FulfillmentStatus] | None = among(
        lambda o: o.fulfillment_status, "With one of these fulfillment statuses."
    )
    return_status: list[ReturnStatus] | None = among(
        lambda o: o.return_status, "With one of these return statuses."
    )
    on_hold: bool | None = where(lambda o, v: o.on_hold == v, "Held back, or not.")
    origin: list[Origin] | None = among(lambda o: o.origin, "Placed here or imported.")
    channels: list[strawberry.ID] | None = among(
        lambda o: o.channel_id, "Of one of these channels.", node="chn"
    )
    customers: list[strawberry.ID] | None = among(
        lambda o: o.customer_id, "Of one of these customers.", node="cus"
    )
    companies: list[strawberry.ID] | None = among(
        lambda o: o.company_id, "Of one of these companies.", node="cmp"
    )
    numbers: list[str] | None = among(lambda o: o.number, "With one of these numbers.")
    external_id: ExternalIdFilter | None = where(
        lambda o, v: matches_external_id("ORDER", o.id, v), "That a partner's system calls so."
    )
    placed_from: datetime | None = where(lambda o, v: o.placed_at >= v, "Placed at or after.")
    placed_before: datetime | None = where(lambda o, v: o.placed_at < v, "Placed before.")
    updated_from: datetime | None = where(lambda o, v: o.updated_at >= v, "Changed at or after.")
    updated_before: datetime | None = where(lambda o, v: o.updated_at < v, "Changed before.")
    search: str | None = where(
        lambda o, v: matches(o.search, v),
        "Whose number, e-mail or recipient holds words that begin so; without `customers:contact`, whose number.",
        candidates=CANDIDATES,
        scope=Scope.CUSTOMERS_CONTACT,
        unscoped=lambda o, v: matches(o.search, v, only=o.number),
    )


OrderSort = sort_enum(
    "OrderSort",
    "What orders can be sorted by.",
    default="PLACED_AT",
    descending=True,
    PLACED_AT=lambda o: (o.placed_at,),
    UPDATED_AT=lambda o: (o.updated_at,),
    TOTAL=lambda o: (o.current_total,),
)


class OrderQueries:
    order: Order | None = query_one(
        Order,
        by=[
            by_id(),
            by(
                lambda o, channel_id, number: sa.and_(o.channel_id == channel_id, o.number == number),
                channel_id=GlobalId("chn"),
                number=str,
            ),
            by(
                lambda o, external_id: matches_external_id("ORDER", o.id, external_id),
                external_id=ExternalIdFilter,
            ),
        ],
        scope=Scope.ORDERS_READ,
        description="One order by id, by channel and number, or by a partner's id; null when there is none "
        "that you may see.",
    )
    orders: Connection[Order] = query_connection(
        Order,
        scope=Scope.ORDERS_READ,
        filter=OrderFilter,
        sort=OrderSort,
        default_sort=("PLACED_AT", SortDirection.DESC),
        description="The orders that you may see, the newest first unless `sort` says otherwise.",
    )


@value_type(description="The order, or why not.")
class OrderPlacePayload:
    order: Order | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The order, or why not.")
class OrderCancelPayload:
    order: Order | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The order, or why not.")
class OrderHoldPayload:
    order: Order | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The order, or why not.")
class OrderReleasePayload:
    order: Order | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The order, or why not.")
class OrderUpdatePayload:
    order: Order | None
    user_errors: list[UserError] = no_errors()


@mutation(
    scope=Scope.ORDERS_WRITE,
    description=(
        "Places an order: priced, allocated and promised at once, or refused with what is wrong. Demand is summed "
        "per SKU; a SKU that may be backordered is owed for what is missing, one that may not is InsufficientStock."
    ),
)
async def order_place(info: Info, input: OrderPlaceInput, idempotency_key: str) -> OrderPlacePayload:
    order_id = await write(info, place_order, input.to_command(), key=idempotency_key)
    return OrderPlacePayload(order=ref(Order, order_id))


@mutation(
    scope=Scope.ORDERS_WRITE,
    description=(
        "Cancels what has not left. Locations that have begun are asked to stop; until they answer, or dispatch, "
        "the order stays as it is. Stock is free again, authorisations are released, money is given back."
    ),
)
async def order_cancel(info: Info, input: OrderCancelInput, idempotency_key: str) -> OrderCancelPayload:
    order_id = await write(info, cancel_order, input.to_command(), key=idempotency_key)
    return OrderCancelPayload(order=ref(Order, order_id))


@mutation(
    scope=Scope.ORDERS_WRITE,
    description="Holds an order back from its locations until the hold is released.",
)
async def order_hold(
    info: Info, input: OrderHoldInput, idempotency_key: str | None = None
) -> OrderHoldPayload:
    order_id = await write(info, hold_order, input.to_command(), key=idempotency_key)
    return OrderHoldPayload(order=ref(Order, order_id))


@mutation(
    scope=Scope.ORDERS_WRITE,
    description="Releases one hold of an order, or all; with the last one the order goes on.",
)
async def order_release(
    info: Info, input: OrderReleaseInput, idempotency_key: str | None = None
) -> OrderReleasePayload:
    order_id = await write(info, release_hold, input.to_command(), key=idempotency_key)
    return OrderReleasePayload(order=ref(Order, order_id))


@mutation(
    scope=Scope.ORDERS_WRITE,
    description="Changes contact, addresses, note, priority or metadata of an order.",
)
async def order_update(
    info: Info, input: OrderUpdateInput, idempotency_key: str | None = None
) -> OrderUpdatePayload:
    order_id = await write(info, update_order, input.to_command(), key=idempotency_key)
    return OrderUpdatePayload(order=ref(Order, order_id))
