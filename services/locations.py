"""Locations: made and changed one by one or a hundred at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID
from zoneinfo import available_timezones

from db.engine import Session
from db.locations import Location
from domain.access import Principal
from domain.events import AggregateKind, EventType
from domain.ids import Prefix
from domain.locations import UpsertLocation, check_location
from services.master_data import check_batch, upsert, upsert_one
from services.master_items import Item, Kind
from services.outcomes import ItemOutcome


def _permits(actor: Principal, item: Item) -> str | None:
    if "time_zone" in item.given and item.given["time_zone"] not in available_timezones():
        return "The time zone is not in the IANA database; write one such as Europe/Berlin."
    if actor.channels is not None:
        return "Locations serve several channels: your access, which is bounded to some, may not write them."
    if actor.locations is not None and item.is_new:
        return "Your access is bounded to certain locations: it may not make another."
    return None


def _about(item: Item) -> dict[str, UUID | None]:
    return {"location_id": item.id}


LOCATION = Kind(
    name=AggregateKind.LOCATION,
    table=Location.metadata.tables["location"],
    prefix=Prefix.LOCATION,
    natural_key="code",
    created=EventType.LOCATION_CREATED,
    updated=EventType.LOCATION_UPDATED,
    check=check_location,
    permits=_permits,
    about=_about,
)


async def upsert_location(
    session: Session, command: UpsertLocation, /, *, actor: Principal, now: datetime
) -> UUID:
    """Make the location or change the fields that were sent; returns its id."""
    return await upsert_one(session, LOCATION, command, actor=actor, now=now)


async def upsert_locations(
    session: Session, commands: Sequence[UpsertLocation], /, *, actor: Principal, now: datetime
) -> tuple[ItemOutcome, ...]:
    """The same for up to 100, each answered for itself."""
    check_batch(commands)
    return await upsert(session, LOCATION, commands, actor=actor, now=now)
