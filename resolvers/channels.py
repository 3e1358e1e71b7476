"""Root fields of channels."""

from __future__ import annotations

from datetime import datetime

from db.search import matches_external_id
from domain.access import Scope
from domain.orders import ChannelKind
from resolvers.batches import write_each
from resolvers.context import write
from schema.channels import Channel, ChannelUpsertInput
from schema.external_ids import ExternalIdFilter
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
from services.channels import upsert_channel, upsert_channels


@filter_input(description="Which channels: each field that is given must hold.")
class ChannelFilter:
    codes: list[str] | None = among(lambda row: row.code, "With one of these codes.")
    kind: list[ChannelKind] | None = among(lambda row: row.kind, "Of one of these kinds.")
    active: bool | None = where(lambda row, v: row.active == v, "Active, or not.")
    external_id: ExternalIdFilter | None = where(
        lambda row, v: matches_external_id("CHANNEL", row.id, v), "That a partner's system calls so."
    )
    updated_from: datetime | None = where(lambda row, v: row.updated_at >= v, "Changed at or after.")
    updated_before: datetime | None = where(lambda row, v: row.updated_at < v, "Changed before.")


ChannelSort = sort_enum(
    "ChannelSort",
    "What channels can be sorted by.",
    default="CODE",
    CODE=lambda row: (row.code,),
    NAME=lambda row: (row.name,),
    UPDATED_AT=lambda row: (row.updated_at,),
)


class ChannelQueries:
    channel: Channel | None = query_one(
        Channel,
        by=[
            by_id(),
            by(lambda row, code: row.code == code, code=str),
            by(
                lambda row, external_id: matches_external_id("CHANNEL", row.id, external_id),
                external_id=ExternalIdFilter,
            ),
        ],
        scope=Scope.CHANNELS_READ,
        description="One channel by id, by code or by a partner's id; null when there is none that you may see.",
    )
    channels: Connection[Channel] = query_connection(
        Channel,
        scope=Scope.CHANNELS_READ,
        filter=ChannelFilter,
        sort=ChannelSort,
        description="The channels that you may see.",
    )


@value_type(description="The channel, or why not.")
class ChannelUpsertPayload:
    channel: Channel | None
    user_errors: list[UserError] = no_errors()


@value_type(description="The answer for one item of a batch.")
class ChannelUpsertResult:
    index: int
    channel: Channel | None
    user_errors: list[UserError] = no_errors()


@value_type(description="One result an item, in their order; userErrors are those of the batch as a whole.")
class ChannelsUpsertPayload:
    results: list[ChannelUpsertResult] | None
    user_errors: list[UserError] = no_errors()


@mutation(
    scope=Scope.CHANNELS_WRITE,
    description="Makes a channel or changes the fields that are sent. Sent twice, it changes nothing the second time.",
)
async def channel_upsert(
    info: Info, input: ChannelUpsertInput, idempotency_key: str | None = None
) -> ChannelUpsertPayload:
    channel_id = await write(info, upsert_channel, input.to_command(), key=idempotency_key)
    return ChannelUpsertPayload(channel=ref(Channel, channel_id))


@mutation(
    scope=Scope.CHANNELS_WRITE,
    description="Makes or changes up to 100 channels. Each is answered for itself: one bad item stops no other.",
)
async def channels_upsert(
    info: Info, inputs: list[ChannelUpsertInput], idempotency_key: str | None = None
) -> ChannelsUpsertPayload:
    return ChannelsUpsertPayload(
        results=[
            ChannelUpsertResult(
                index=index, channel=ref(Channel, found) if found is not None else None, user_errors=errors
            )
            for index, found, errors in await write_each(info, upsert_channels, inputs, idempotency_key)
        ]
    )
