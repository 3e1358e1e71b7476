"""Locations, as the API shows and takes them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import strawberry
from strawberry.scalars import JSON

from db import locations as tables
from domain.access import Scope
from domain.ids import Prefix, parse_id
from domain.locations import UpsertLocation
from domain.stock import LocationKind
from schema import enums  # noqa: F401 - registers the enumerations that fields name
from schema.addresses import Address, AddressInput
from schema.external_ids import ExternalIdInput, as_sent, json_object, to_names
from schema.plan import BigInt, Connection, Node, column, connection, embedded, many, planned

if TYPE_CHECKING:  # named by fields; resolved when the schema is built
    from schema.external_ids import ExternalId
    from schema.stock import StockLevel


@planned(
    tables.Location,
    node="loc",
    scope=Scope.LOCATIONS_READ,
    description="A warehouse, a store or a third-party logistics site that holds stock and sends orders.",
)
class Location(Node):
    code: str = column(tables.Location.code, "Its short name; unique.")
    name: str = column(tables.Location.name, "What people call it.")
    kind: LocationKind = column(tables.Location.kind, "What it is.")
    address: Address = embedded(tables.Location.address, "Where it is.")
    time_zone: str = column(tables.Location.time_zone, "A name of the IANA database.")
    active: bool = column(tables.Location.active, "Whether orders are sent from it.")
    version: BigInt = column(tables.Location.version, "How often it has changed.")
    created_at: datetime = column(tables.Location.created_at, "When we came to know of it.")
    updated_at: datetime = column(tables.Location.updated_at, "When it last changed.")
    metadata: JSON = column(tables.Location.metadata_, "Whatever its partners keep on it; not interpreted.")
    private_metadata: JSON = column(
        tables.Location.private_metadata, "The same, for staff.", scope=Scope.METADATA_PRIVATE
    )
    external_ids: list[ExternalId] = many(
        "ExternalId",
        lambda location, external: external.entity_id == location.id,
        order_by=lambda external: (external.system, external.external_id),
        description="What partners' systems call it.",
        visible_with_parent=False,
        size=2,
    )
    stock_levels: Connection[StockLevel] = connection(
        "StockLevel",
        lambda location, level: level.location_id == location.id,
        order_by=lambda level: (level.product_id,),
        description="What lies there.",
        visible_with_parent=False,
        scope=Scope.STOCK_READ,
    )


@strawberry.input(
    description=(
        "A location to make or change, found by `id`, else by an external id, else by `code`. "
        "A field that is left out keeps its value; null clears it."
    )
)
class LocationUpsertInput:
    id: strawberry.ID | None = None
    external_ids: list[ExternalIdInput] = strawberry.field(default_factory=list)
    code: str | None = strawberry.UNSET
    name: str | None = strawberry.UNSET
    kind: LocationKind | None = strawberry.UNSET
    address: AddressInput | None = strawberry.UNSET
    time_zone: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="A name of the IANA database, such as Europe/Berlin; UTC at first.",
    )
    active: bool | None = strawberry.UNSET
    metadata: JSON | None = strawberry.UNSET
    private_metadata: JSON | None = strawberry.UNSET

    def to_command(self) -> UpsertLocation:
        return UpsertLocation(
            id=parse_id(self.id, Prefix.LOCATION, field=("id",)) if self.id is not None else None,
            external_ids=to_names(self.external_ids),
            code=as_sent(self.code),
            name=as_sent(self.name),
            kind=as_sent(self.kind),
            address=as_sent(self.address, AddressInput.to_address),
            time_zone=as_sent(self.time_zone),
            active=as_sent(self.active),
            metadata_=as_sent(self.metadata, json_object("metadata")),
            private_metadata=as_sent(self.private_metadata, json_object("privateMetadata")),
        )
