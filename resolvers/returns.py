"""Root fields of returns."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry

from db.search import matches_external_id
from domain.access import Scope
from domain.ids import Prefix, parse_id
from domain.return_commands import CancelReturn, CloseReturn, DeclineReturn, MarkReturnSent
from domain.returns import CustomerReturnStatus, ReturnState
from resolvers.context import write
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
    sort_enum,
    value_type,
    where,
)
from schema.plan.fields import field
from schema.return_inputs import (
    ReturnApproveInput,
    ReturnInspectInput,
    ReturnReceiveInput,
    ReturnRequestInput,
)
from schema.returns import Return
from services.return_inspection import inspect_return, receive_return
from services.return_requests import request_return
from services.returns import approve_return, cancel_return, close_return, decline_return, mark_return_sent


@filter_input(description="Which returns: each field that is given must hold.")
class ReturnFilter:
    status: list[ReturnState] | None = among(lambda r: r.status, "In one of these statuses.")
    customer_status: list[CustomerReturnStatus] | None = among(
        lambda r: r.customer_status, "That customers are told one of these of."
    )
    channels: list[strawberry.ID] | None = among(
        lambda r: r.channel_id, "Of one of these channels.", node="chn"
    )
    locations: list[strawberry.ID] | None = among(
        lambda r: r.location_id, "To one of these locations.", node="loc"
    )
    orders: list[strawberry.ID] | None = among(lambda r: r.order_id, "Of one of these orders.", node="ord")
    customers: list[strawberry.ID] | None = among(
        lambda r: r.customer_id, "Of one of these customers.", node="cus"
    )
    order_external_id: ExternalIdFilter | None = where(
        lambda r, v: matches_external_id("ORDER", r.order_id, v),
        "Of the order that a partner's system calls so.",
    )
    tracking_number: str | None = where(lambda r, v: r.tracking_number == v, "With this tracking number.")
    requested_from: datetime | None = where(lambda r, v: r.requested_at >= v, "Asked for at or after.")
    requested_before: datetime | None = where(lambda r, v: r.requested_at < v, "Asked for before.")
    updated_from: datetime | None = where(lambda r, v: r.updated_at >= v, "Changed at or after.")
    updated_before: datetime | None = where(lambda r, v: r.updated_at < v, "Changed before.")


ReturnSort = sort_enum(
    "ReturnSort",
    "What returns can be sorted by.",
    default="REQUESTED_AT",
    descending=True,
    REQUESTED_AT=lambda r: (r.requested_at,),
    UPDATED_AT=lambda r: (r.updated_at,),
)


def _named_return(declared: Any) -> Any:
    """`return` in the API; in Python it is a keyword."""
    declared.graphql_name = "return"
    return declared


class ReturnQueries:
    return_: Return | None = _named_return(
        query_one(
            Return,
            by=by_id(),
            scope=Scope.RETURNS_READ,
            description="One return; null when there is none that you may see.",
        )
    )
    returns: Connection[Return] = query_connection(
        Return,
        scope=Scope.RETURNS_READ,
        filter=ReturnFilter,
        sort=ReturnSort,
        default_sort=("REQUESTED_AT", SortDirection.DESC),
        description="The returns that you may see, the newest first unless `sort` says otherwise.",
    )


@value_type(description="The return, or why not.")
class ReturnPayload:
    return_: Return | None = _named_return(field(None, "The return."))
    user_errors: list[UserError] = no_errors()


def _id(given: str) -> UUID:
    return parse_id(given, Prefix.RETURN, field=("id",))


@mutation(
    scope=Scope.RETURNS_REQUEST,
    description=(
        "Asks to send goods back: units that have left and are not being returned already, else QuantityExceeded. "
        "Staff and partners may do so without an order. Staff approve or decline it."
    ),
)
async def return_request(info: Info, input: ReturnRequestInput, idempotency_key: str) -> ReturnPayload:
    found = await write(info, request_return, input.to_command(), key=idempotency_key)
    return ReturnPayload(return_=ref(Return, found))


@mutation(scope=Scope.RETURNS_WRITE, description="The goods may come back.")
async def return_approve(
    info: Info, input: ReturnApproveInput, idempotency_key: str | None = None
) -> ReturnPayload:
    found = await write(info, approve_return, input.to_command(), key=idempotency_key)
    return ReturnPayload(return_=ref(Return, found))


@mutation(
    scope=Scope.RETURNS_WRITE,
    description="The goods may not come back; `reason` is shown to the customer.",
)
async def return_decline(
    info: Info, id: strawberry.ID, reason: str, idempotency_key: str | None = None
) -> ReturnPayload:
    command = DeclineReturn(return_id=_id(id), reason=reason)
    found = await write(info, decline_return, command, key=idempotency_key)
    return ReturnPayload(return_=ref(Return, found))


@mutation(
    scope=Scope.RETURNS_REQUEST,
    description="The parcel is on its way back. Said again, it corrects the tracking number.",
)
async def return_mark_sent(
    info: Info, id: strawberry.ID, tracking_number: str, idempotency_key: str | None = None
) -> ReturnPayload:
    command = MarkReturnSent(return_id=_id(id), tracking_number=tracking_number)
    found = await write(info, mark_return_sent, command, key=idempotency_key)
    return ReturnPayload(return_=ref(Return, found))


@mutation(
    scope=Scope.RETURNS_REQUEST,
    description="Withdraws a return of which nothing has been received.",
)
async def return_cancel(info: Info, id: strawberry.ID, idempotency_key: str | None = None) -> ReturnPayload:
    found = await write(info, cancel_return, CancelReturn(return_id=_id(id)), key=idempotency_key)
    return ReturnPayload(return_=ref(Return, found))


@mutation(
    scope=Scope.RETURNS_WRITE,
    description=(
        "Goods came in. A fact: more than was expected, or something else, is recorded with a discrepancy; goods of "
        "a return that nobody has approved yet approve it."
    ),
)
async def return_receive(info: Info, input: ReturnReceiveInput, idempotency_key: str) -> ReturnPayload:
    found = await write(info, receive_return, input.to_command(), key=idempotency_key)
    return ReturnPayload(return_=ref(Return, found))


@mutation(
    scope=Scope.RETURNS_WRITE,
    description=(
        "Judges received units. Accepted ones enter the stock that their disposition names (SCRAP enters none), are "
        "credited their share of what the line cost, and are paid back as far as they were paid for."
    ),
)
async def return_inspect(info: Info, input: ReturnInspectInput, idempotency_key: str) -> ReturnPayload:
    found = await write(info, inspect_return, input.to_command(), key=idempotency_key)
    return ReturnPayload(return_=ref(Return, found))


@mutation(
    scope=Scope.RETURNS_WRITE,
    description="Ends a return by hand: what was expected and has not come is not waited for.",
)
async def return_close(info: Info, id: strawberry.ID, idempotency_key: str | None = None) -> ReturnPayload:
    found = await write(info, close_return, CloseReturn(return_id=_id(id)), key=idempotency_key)
    return ReturnPayload(return_=ref(Return, found))
