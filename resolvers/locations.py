"""Root fields of locations."""

from __future__ import annotations

from datetime import datetime

from db.search import matches_external_id
from domain.access import Scope
from domain.stock import LocationKind
from resolvers.batches import write_each
from resolvers.context import write
from schema.external_ids import ExternalIdFilter
from schema.locations import Location, LocationUpsertInput
from schema.plan import (
    Connection,
    Info,
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
from services.locations import upsert_location, upsert_locations


@filter_input(description="Which locations: each field that is given must hold.")
class LocationFilter:
    codes: list[str] | None = among(lambda row: row.code, "With one of these codes.")
    kind: list[LocationKind] | None = among(lambda row: row.kind, "Of one of these kinds.")
    active: bool | None = where(lambda row, v: row.active == v, "Active, or not.")
    external_id: ExternalIdFilter | None = where(
        lambda row, v: matches_external_id("LOCATION", row.id, v), "That a partner's system calls so."
    )
    updated_from: datetime | None = where(lambda row, v: row.updated_at >= v, "Changed at or after.")
    updated_before: datetime | None = where(lambda row, v: row.updated_at < v, "Changed before.")


LocationSort = sort_enum(
    "LocationSort",
    "What locations can be sorted by.",
    default="CODE",
    CODE=lambda row: (row.code,),
    NAME=lambda row: (row.name,),
    UPDATED_AT=lambda row: (row.updated_at,),
)


class LocationQueries:
    location: Location | None = query_one(
        Location,
        by=[
            by_id(),
            by(lambda row, code: row.code == code, code=str),
            by(
                lambda row, external_id: matches_external_id("LOCATION", row.id, external_id),
                external_id=ExternalIdFilter,
            ),
        ],
        scope=Scope.LOCATIONS_READ,
        description="One location by id, by code or by a partner's id; null when there is none that you may see.",
    )
    locations: Connection[Location] = query_connection(
        Location,
        scope=Scope.LOCATIONS_READ,
        filter=LocationFilter,
        sort=LocationSort,
        description="The locations that you may see.",
    )


@value_type(description="The location, or why not.")
class LocationUpsertPayload:
    location: Location | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The answer for one item of a batch.")
class LocationUpsertResult:
    index: int
    location: Location | None
    user_errors: list[UserError] = no_errors()


@value_type(description="One result an item, in their order; userErrors are those of the batch as a whole.")
class LocationsUpsertPayload:
    results: list[LocationUpsertResult] | None
    user_errors: list[UserError] = no_errors()


@mutation(
    scope=Scope.LOCATIONS_WRITE,
    description="Makes a location or changes the fields that are sent. Sent twice, it changes nothing the second time.",
)
async def location_upsert(
    info: Info, input: LocationUpsertInput, idempotency_key: str | None = None
) -> LocationUpsertPayload:
    location_id = await write(info, upsert_location, input.to_command(), key=idempotency_key)
    return LocationUpsertPayload(location=ref(Location, location_id))


@mutation(
    scope=Scope.LOCATIONS_WRITE,
    description="Makes or changes up to 100 locations. Each is answered for itself: one bad item stops no other.",
)
async def locations_upsert(
    info: Info, inputs: list[LocationUpsertInput], idempotency_key: str | None = None
) -> LocationsUpsertPayload:
    return LocationsUpsertPayload(
        results=[
            LocationUpsertResult(
                index=index, location=ref(Location, found) if found is not None else None, user_errors=errors
            )
            for index, found, errors in await write_each(info, upsert_locations, inputs, idempotency_key)
        ]
    )
