"""What becomes of the records of a batch, in the form that a transaction's outcome keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Row

from domain.access import Principal
from domain.errors import UserError
from domain.imports import ImportAction, RecordOutcome
from services.imports.reading import Record
from services.master_items import Item

T = TypeVar("T")

CREATED = RecordOutcome(ImportAction.CREATED)
CHANGED = RecordOutcome(ImportAction.CHANGED)
UNCHANGED = RecordOutcome(ImportAction.UNCHANGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a run's records go: what the map names, found or made before the first batch."""

    system: str
    actor: Principal
    now: datetime
    channel: Row[Any] | None = None
    """As it was when the run began."""
    location_id: UUID | None = None
    location_code: str | None = None
    price_list_code: str | None = None
    currency: str | None = None

    @property
    def channel_id(self) -> UUID | None:
        return None if self.channel is None else self.channel.id


def needed(value: T | None) -> T:
    """What a map of orders names, or an order was given: it was made before."""
    if value is None:
        raise RuntimeError("it was to be made before")
    return value


def rejected(*reasons: str) -> RecordOutcome:
    return RecordOutcome(ImportAction.REJECTED, "; ".join(reasons))


def refused(errors: Sequence[UserError]) -> RecordOutcome:
    """Why a service refused a record, with the fields it means."""
    return rejected(*(f"{'.'.join(error.field)}: {error.message}".removeprefix(": ") for error in errors))


def of_item(item: Item) -> RecordOutcome:
    """What an upsert did."""
    if item.errors:
        return refused(item.errors)
    if item.is_new:
        return CREATED
    return CHANGED if item.to_write else UNCHANGED


def rounds(records: Sequence[Record], *names: str) -> list[list[Record]]:
    """The records in as few parts as it goes, none of which holds two of the same key.

    A file may name an entity twice; the later record then changes what the earlier made.
    """
    parts: list[tuple[list[Record], set[tuple[str, object]]]] = []
    for record in records:
        keys = {(name, record.values[name]) for name in names if name in record.values}
        place = 0
        for index, (_, seen) in enumerate(parts):
            if seen & keys:
                place = index + 1
        if place == len(parts):
            parts.append(([], set()))
        parts[place][0].append(record)
        parts[place][1].update(keys)
    return [part for part, _ in parts]


def part_of(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The values whose names begin with `prefix.`, by the rest of their names."""
    return {rest: values[name] for name, rest in _named_after(tuple(values), prefix + ".")}


@lru_cache(1_000)
def _named_after(names: tuple[str, ...], start: str) -> list[tuple[str, str]]:
    """A file's records have few different sets of names."""
    return [(name, name.removeprefix(start)) for name in names if name.startswith(start)]
