"""What becomes of the records of a batch, in the form that a transaction's outcome keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.access import Principal
from domain.errors import UserError
from domain.imports import ImportAction, RecordOutcome
from services.imports.reading import Record
from services.master_items import Item

CREATED = RecordOutcome(ImportAction.CREATED)
CHANGED = RecordOutcome(ImportAction.CHANGED)
UNCHANGED = RecordOutcome(ImportAction.UNCHANGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a run's records go: what the map names, found or made before the first batch."""

    system: str
    actor: Principal
    now: datetime
    channel_id: UUID | None = None
    location_id: UUID | None = None
    location_code: str | None = None
    price_list_code: str | None = None
    currency: str | None = None


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


def part_of(values: dict[str, object], prefix: str) -> dict[str, object]:
    """The values whose names begin with `prefix.`, by the rest of their names."""
    start = prefix + "."
    return {name.removeprefix(start): value for name, value in values.items() if name.startswith(start)}
