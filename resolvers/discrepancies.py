"""Root fields of discrepancies."""

from __future__ import annotations

from datetime import datetime

import strawberry

from domain.access import Scope
from domain.discrepancies import DiscrepancyKind, DiscrepancyStatus
from domain.ids import Prefix, parse_id
from resolvers.context import write
from schema.discrepancies import Discrepancy
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
from services.discrepancies import ResolveDiscrepancy, resolve_discrepancy


@filter_input(description="Which discrepancies: each field that is given must hold.")
class DiscrepancyFilter:
    status: list[DiscrepancyStatus] | None = among(lambda d: d.status, "In one of these statuses.")
    kind: list[DiscrepancyKind] | None = among(lambda d: d.kind, "Of one of these kinds.")
    orders: list[strawberry.ID] | None = among(lambda d: d.order_id, "Of one of these orders.", node="ord")
    created_from: datetime | None = where(lambda d, v: d.created_at >= v, "Recorded at or after.")
    created_before: datetime | None = where(lambda d, v: d.created_at < v, "Recorded before.")


DiscrepancySort = sort_enum(
    "DiscrepancySort",
    "What discrepancies can be sorted by.",
    default="CREATED_AT",
    descending=True,
    CREATED_AT=lambda d: (d.created_at,),
)


class DiscrepancyQueries:
    discrepancy: Discrepancy | None = query_one(
        Discrepancy,
        by=by_id(),
        scope=Scope.ORDERS_READ,
        description="One discrepancy; null when there is none that you may see.",
    )
    discrepancies: Connection[Discrepancy] = query_connection(
        Discrepancy,
        scope=Scope.ORDERS_READ,
        filter=DiscrepancyFilter,
        sort=DiscrepancySort,
        default_sort=("CREATED_AT", SortDirection.DESC),
        description="What was reported and fits nothing, the newest first: staff's work list.",
    )


@value_type(description="The discrepancy, or why not.")
class DiscrepancyPayload:
    discrepancy: Discrepancy | None
    user_errors: list[UserError] = no_errors()


@mutation(
    scope=Scope.ORDERS_WRITE,
    description=(
        "Settles a discrepancy. An order that a lost, damaged or returned parcel kept open may complete by that."
    ),
)
async def discrepancy_resolve(
    info: Info, id: strawberry.ID, resolution: str, idempotency_key: str | None = None
) -> DiscrepancyPayload:
    command = ResolveDiscrepancy(
        discrepancy_id=parse_id(id, Prefix.DISCREPANCY, field=("id",)), resolution=resolution
    )
    found = await write(info, resolve_discrepancy, command, key=idempotency_key)
    return DiscrepancyPayload(discrepancy=ref(Discrepancy, found))
