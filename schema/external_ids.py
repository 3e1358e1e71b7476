"""External ids: what partners' systems call our entities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import strawberry

from db import channels as tables
from domain.access import Scope
from domain.errors import InvalidInput, Refused
from domain.ids import Prefix, parse_id
from domain.upserts import ABSENT, ExternalName
from schema.plan import Node, column, global_id, one, planned

if TYPE_CHECKING:  # named by fields; resolved when the schema is built
    from schema.channels import Channel


@planned(
    tables.ExternalId,
    node="xid",
    scope=Scope.ORDERS_READ,
    description="What a partner's system calls an entity; unique per system, within its channel if it has one.",
)
class ExternalId(Node):
    system: str = column(tables.ExternalId.system, 'The system, such as "erp" or "shopify".')
    external_id: str = column(tables.ExternalId.external_id, "The id there.")
    channel: Channel | None = one(
        "Channel",
        lambda external, channel: channel.id == external.channel_id,
        "The channel it is unique in; null when it is unique everywhere.",
    )


@strawberry.input(description="An entity by what a partner's system calls it.")
class ExternalIdFilter:
    system: str = strawberry.field(description='The system, such as "erp".')
    id: str = strawberry.field(description="Its id there.")
    channel_id: strawberry.ID | None = global_id(
        "chn", "The channel it was given in; without it, any of the system's."
    )


@strawberry.input(
    description=(
        "What your system calls the entity. It finds the entity if it is known already; else the entity gets it. "
        "Callers bounded to one channel give it within that channel."
    )
)
class ExternalIdInput:
    system: str = strawberry.field(description='Your system, such as "erp"; at most 64 characters.')
    id: str = strawberry.field(description="Its id there; at most 128 characters.")
    channel_id: strawberry.ID | None = strawberry.field(
        default=None, description="The channel it is unique in; everywhere when it is left out."
    )

    def to_name(self, *at: str) -> ExternalName:
        channel = self.channel_id
        return ExternalName(
            system=self.system,
            id=self.id,
            channel_id=None
            if channel is None
            else parse_id(channel, Prefix.CHANNEL, field=(*at, "channelId")),
        )


def to_names(given: Sequence[ExternalIdInput]) -> tuple[ExternalName, ...]:
    return tuple(name.to_name("externalIds", str(index)) for index, name in enumerate(given))


def as_sent(value: object, convert: Callable[[Any], Any] = lambda value: value) -> Any:
    """The value, converted unless it is null; or the mark of a field that was not sent."""
    if value is strawberry.UNSET:
        return ABSENT
    return None if value is None else convert(value)


def global_id_of(prefix: Prefix, *at: str) -> Callable[[str], UUID]:
    """Converts a global id of this prefix; Refused(InvalidInput) for any other text."""
    return lambda text: parse_id(text, prefix, field=at)


def json_object(*at: str) -> Callable[[object], dict[str, Any]]:
    """Takes a JSON object; Refused(InvalidInput) for any other JSON."""

    def convert(value: object) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        raise Refused(InvalidInput(message="Metadata is a JSON object.", field=at))

    return convert
