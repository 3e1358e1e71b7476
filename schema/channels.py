"""Channels, as the API shows and takes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import strawberry
from strawberry.scalars import JSON

from db import channels as tables
from domain.access import Scope
from domain.channels import ServingLocation, UpsertChannel
from domain.ids import Prefix, parse_id
from domain.invoices import InvoiceRequirement
from domain.orders import ChannelKind, CollectedBy, PricingAuthority, ReleaseGate
from schema import enums  # noqa: F401 - registers the enumerations that fields name
from schema.external_ids import ExternalIdInput, as_sent, json_object, to_names
from schema.plan import BigInt, Node, column, many, one, planned

if TYPE_CHECKING:  # named by fields; resolved when the schema is built
    from schema.external_ids import ExternalId
    from schema.locations import Location


@planned(
    tables.Channel,
    node="chn",
    scope=Scope.CHANNELS_READ,
    description="Where orders come from, and the rules that a channel sets for its orders.",
)
class Channel(Node):
    code: str = column(tables.Channel.code, "Its short name; unique.")
    name: str = column(tables.Channel.name, "What people call it.")
    kind: ChannelKind = column(tables.Channel.kind, "What it is.")
    currency_code: str = column(
        tables.Channel.currency, "ISO 4217: the currency of its orders unless they say otherwise."
    )
    pricing_authority: PricingAuthority = column(
        tables.Channel.pricing_authority, "Who says what an order costs; a partner's sums are verified."
    )
    prices_include_tax: bool = column(tables.Channel.prices_include_tax, "Whether its prices contain taxes.")
    collected_by: CollectedBy = column(tables.Channel.collected_by, "Who takes the customers' money.")
    release_gate: ReleaseGate = column(
        tables.Channel.release_gate, "What must have happened before its orders go to a location."
    )
    invoice_required_before: InvoiceRequirement = column(
        tables.Channel.invoice_required_before, "The step that needs an issued invoice first."
    )
    payment_due_minutes: int = column(
        tables.Channel.payment_due_minutes, "How long an unpaid order keeps its stock, in minutes."
    )
    completes_after_days: int = column(
        tables.Channel.completes_after_days,
        "After how many days a dispatched order completes without a scan.",
    )
    stock_buffer: int = column(tables.Channel.stock_buffer, "Units of each SKU that it never sells.")
    order_number_prefix: str = column(
        tables.Channel.order_number_prefix, "What its order numbers begin with."
    )
    active: bool = column(tables.Channel.active, "Whether it takes new orders.")
    version: BigInt = column(tables.Channel.version, "How often it has changed.")
    created_at: datetime = column(tables.Channel.created_at, "When we came to know of it.")
    updated_at: datetime = column(tables.Channel.updated_at, "When it last changed.")
    metadata: JSON = column(tables.Channel.metadata_, "Whatever its partners keep on it; not interpreted.")
    private_metadata: JSON = column(
        tables.Channel.private_metadata, "The same, for staff.", scope=Scope.METADATA_PRIVATE
    )
    external_ids: list[ExternalId] = many(
        "ExternalId",
        lambda channel, external: external.entity_id == channel.id,
        order_by=lambda external: (external.system, external.external_id),
        description="What partners' systems call it.",
        visible_with_parent=False,
        size=2,
    )
    locations: list[ChannelLocation] = many(
        "ChannelLocation",
        lambda channel, served: served.channel_id == channel.id,
        order_by=lambda served: (served.rank, served.location_id),
        description="The locations that serve it, in the order they are asked in.",
        visible_with_parent=False,
        size=3,
    )


@planned(
    tables.ChannelLocation,
    key="location_id",
    scope=Scope.CHANNELS_READ,
    description="A location that serves a channel.",
)
class ChannelLocation:
    rank: int = column(tables.ChannelLocation.rank, "The lowest rank is asked first.")
    location: Location | None = one(
        "Location", lambda served, location: location.id == served.location_id, "The location."
    )


@strawberry.input(description="A location that serves the channel.")
class ChannelLocationInput:
    location_id: strawberry.ID
    rank: int = strawberry.field(default=0, description="The lowest rank is asked first; 0 to 10,000.")


@strawberry.input(
    description=(
        "A channel to make or change, found by `id`, else by an external id, else by `code`. "
        "A field that is left out keeps its value; a new channel gets the rules usual for its kind."
    )
)
class ChannelUpsertInput:
    id: strawberry.ID | None = None
    external_ids: list[ExternalIdInput] = strawberry.field(default_factory=list)
    code: str | None = strawberry.UNSET
    name: str | None = strawberry.UNSET
    kind: ChannelKind | None = strawberry.UNSET
    currency_code: str | None = strawberry.UNSET
    pricing_authority: PricingAuthority | None = strawberry.UNSET
    prices_include_tax: bool | None = strawberry.UNSET
    collected_by: CollectedBy | None = strawberry.UNSET
    release_gate: ReleaseGate | None = strawberry.UNSET
    invoice_required_before: InvoiceRequirement | None = strawberry.UNSET
    payment_due_minutes: int | None = strawberry.field(
        default=strawberry.UNSET, description="1 to 525,600; 60 at first."
    )
    completes_after_days: int | None = strawberry.field(
        default=strawberry.UNSET, description="1 to 365; 30 at first."
    )
    stock_buffer: int | None = strawberry.field(
        default=strawberry.UNSET, description="0 to 1,000,000 units; 0 at first."
    )
    order_number_prefix: str | None = strawberry.UNSET
    active: bool | None = strawberry.UNSET
    metadata: JSON | None = strawberry.UNSET
    private_metadata: JSON | None = strawberry.UNSET
    locations: list[ChannelLocationInput] | None = strawberry.field(
        default=strawberry.UNSET, description="Replaces the whole list of locations that serve the channel."
    )

    def to_command(self) -> UpsertChannel:
        return UpsertChannel(
            id=parse_id(self.id, Prefix.CHANNEL, field=("id",)) if self.id is not None else None,
            external_ids=to_names(self.external_ids),
            code=as_sent(self.code),
            name=as_sent(self.name),
            kind=as_sent(self.kind),
            currency=as_sent(self.currency_code),
            pricing_authority=as_sent(self.pricing_authority),
            prices_include_tax=as_sent(self.prices_include_tax),
            collected_by=as_sent(self.collected_by),
            release_gate=as_sent(self.release_gate),
            invoice_required_before=as_sent(self.invoice_required_before),
            payment_due_minutes=as_sent(self.payment_due_minutes),
            completes_after_days=as_sent(self.completes_after_days),
            stock_buffer=as_sent(self.stock_buffer),
            order_number_prefix=as_sent(self.order_number_prefix),
            active=as_sent(self.active),
            metadata_=as_sent(self.metadata, json_object("metadata")),
            private_metadata=as_sent(self.private_metadata, json_object("privateMetadata")),
            locations=as_sent([] if self.locations is None else self.locations, _serving),
        )


def _serving(given: Sequence[ChannelLocationInput]) -> tuple[ServingLocation, ...]:
    return tuple(
        ServingLocation(
            location_id=parse_id(
                serving.location_id, Prefix.LOCATION, field=("locations", str(index), "locationId")
            ),
            rank=serving.rank,
        )
        for index, serving in enumerate(given)
    )
