"""Channels: made and changed, with the locations that serve them and their order numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast
from uuid import UUID

import sqlalchemy as sa

from db import visibility
from db.channels import Channel, ChannelLocation
from db.engine import Session
from db.locations import Location
from domain import ids
from domain.access import Principal, VisibilityClass
from domain.channels import ServingLocation, UpsertChannel, check_channel
from domain.errors import NotFound
from domain.events import AggregateKind, EventType
from domain.ids import Prefix
from domain.upserts import sent
from services.master_data import check_batch, upsert, upsert_one
from services.master_items import Item, Kind
from services.outcomes import ItemOutcome

FIRST_ORDER_NUMBER = 1001


def order_number_sequence(channel_id: UUID) -> str:
    """The name of the sequence that numbers the channel's orders; gaps are allowed."""
    return f"order_number_{channel_id.hex}"


def _permits(actor: Principal, item: Item) -> str | None:
    if actor.locations is not None:
        return "Your access is bounded to certain locations: it may not write channels."
    if actor.channels is not None and item.is_new:
        return "Your access is bounded to certain channels: it may not make another."
    return None


CHANNEL = Kind(
    name=AggregateKind.CHANNEL,
    table=Channel.metadata.tables["channel"],
    prefix=Prefix.CHANNEL,
    natural_key="code",
    created=EventType.CHANNEL_CREATED,
    updated=EventType.CHANNEL_UPDATED,
    check=check_channel,
    permits=_permits,
    about=lambda item: {"channel_id": item.id},
    usual=UpsertChannel.usual,
)


async def upsert_channel(
    session: Session, command: UpsertChannel, /, *, actor: Principal, now: datetime
) -> UUID:
    """Make the channel or change the fields that were sent; returns its id."""
    serving = _Serving(actor)
    return await upsert_one(
        session, CHANNEL, command, actor=actor, now=now, compare=serving.compare, store=serving.store
    )


async def upsert_channels(
    session: Session, commands: Sequence[UpsertChannel], /, *, actor: Principal, now: datetime
) -> tuple[ItemOutcome, ...]:
    """The same for up to 100, each answered for itself."""
    check_batch(commands)
    serving = _Serving(actor)
    return await upsert(
        session, CHANNEL, commands, actor=actor, now=now, compare=serving.compare, store=serving.store
    )


@dataclass(slots=True)
class _Serving:
    """The locations of the channels of one batch, where they were sent."""

    actor: Principal
    replaced: dict[UUID, tuple[ServingLocation, ...]] = field(default_factory=dict)

    async def compare(self, session: Session, items: Sequence[Item]) -> None:
        wanted = {
            item.index: locations
            for item in items
            if (locations := sent(cast("UpsertChannel", item.command).locations)) is not None
        }
        if not wanted:
            return
        table = Location.metadata.tables["location"]
        statement = sa.select(table.c.id).where(
            table.c.id.in_({serving.location_id for sent_ in wanted.values() for serving in sent_}),
            visibility.predicate("location", table, VisibilityClass.of(self.actor)),
        )
        seen = set((await session.execute(statement, visibility.values(self.actor))).scalars())
        now_is = await self._current(session, [item.id for item in items if item.index in wanted])
        for item in items:
            if item.index not in wanted:
                continue
            for position, serving in enumerate(wanted[item.index]):
                if serving.location_id not in seen:
                    text = ids.format_id(Prefix.LOCATION, serving.location_id)
                    at = ("locations", str(position), "locationId")
                    message = f"There is no {text} that you may see."
                    item.errors.append(NotFound(message=message, field=at, id=text))
            if set(wanted[item.index]) != now_is.get(item.id, set()):
                item.also_changed.add("locations")
                self.replaced[item.id] = wanted[item.index]

    async def _current(self, session: Session, channel_ids: list[UUID]) -> dict[UUID, set[ServingLocation]]:
        rows = await session.execute(
            sa.select(ChannelLocation.channel_id, ChannelLocation.location_id, ChannelLocation.rank).where(
                ChannelLocation.channel_id.in_(channel_ids)
            )
        )
        found: dict[UUID, set[ServingLocation]] = {}
        for row in rows:
            found.setdefault(row.channel_id, set()).add(
                ServingLocation(location_id=row.location_id, rank=row.rank)
            )
        return found

    async def store(self, session: Session, items: Sequence[Item]) -> None:
        for item in items:
            if item.is_new:
                await session.execute(
                    sa.schema.CreateSequence(
                        sa.Sequence(order_number_sequence(item.id), start=FIRST_ORDER_NUMBER),
                        if_not_exists=True,
                    )
                )
        changed = [item.id for item in items if "locations" in item.also_changed]
        if not changed:
            return
        await session.execute(sa.delete(ChannelLocation).where(ChannelLocation.channel_id.in_(changed)))
        rows = [
            {"channel_id": channel_id, "location_id": serving.location_id, "rank": serving.rank}
            for channel_id in changed
            for serving in self.replaced[channel_id]
        ]
        if rows:
            await session.execute(sa.insert(ChannelLocation), rows)
