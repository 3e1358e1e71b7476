"""What was asked, what was answered, and whether the database agrees."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from services.outcomes import ItemOutcome, decode


@dataclass(slots=True)
class Call:
    """One mutation with its key, sent until it was answered or given up."""

    account: str
    key: str
    field: str
    arguments: Mapping[str, Any]
    ids: tuple[UUID, ...] = ()
    """What was acknowledged: the entities that the answer named."""
    acknowledged_at: float | None = None
    refused: bool = False
    marks: int = 0
    """How many rows carry the key as their mark, once it is acknowledged."""


@dataclass(slots=True)
class Ledger:
    """All calls of a storm; times are monotonic seconds."""

    calls: list[Call] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    given_up: int = 0
    broken: list[str] = field(default_factory=list)
    """Answers that must not be: another entity under the same key, a conflict nobody made."""

    def acknowledge(self, call: Call, ids: Iterable[UUID]) -> None:
        call.ids = tuple(ids)
        call.acknowledged_at = time.monotonic()

    def acknowledged(self) -> list[Call]:
        return [call for call in self.calls if call.acknowledged_at is not None]

    def longest_gap(self, since: float, until: float) -> float:
        """The longest time without an acknowledgement, in seconds."""
        times = sorted(
            call.acknowledged_at
            for call in self.calls
            if call.acknowledged_at is not None and since <= call.acknowledged_at <= until
        )
        return max((later - sooner for sooner, later in pairwise([since, *times, until])), default=0.0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the database says of the calls: acknowledged ones that are there, are there twice, are not."""

    acknowledged: int
    found: int
    duplicated: int
    lost: int
    examples: tuple[str, ...]


_KEYS = """
select account, key, outcome from idempotency_key
where finished_at is not null and key = any($1)
"""

_MARKS = """
select mark, count(*) as rows from (
    select note as mark from orders
    union all select reference from reservation
    union all select reference from stock_movement where kind in ('RECEIPT', 'ADJUSTMENT')
    union all select tracking_number from package
    union all select note from returns
    union all select reason from refund
) marked
where mark like $1 group by 1
"""
"""Every storm's row says which call made it; none of these columns is unique."""


async def verify(
    connection: asyncpg.Connection[asyncpg.Record], calls: Iterable[Call], prefix: str
) -> Verdict:
    """Compare what was acknowledged with what is stored, in one snapshot."""
    calls = list(calls)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        stored = {
            (row["account"], row["key"]): row["outcome"]
            for row in await connection.fetch(_KEYS, [call.key for call in calls])
        }
        marks = {
            row["mark"]: row["rows"]
            for row in await connection.fetch(_MARKS, prefix.replace("_", r"\_") + "%")
        }
    acknowledged = found = 0
    examples: list[str] = []
    for call in calls:
        if call.acknowledged_at is None:
            continue
        acknowledged += 1
        outcome = stored.get((call.account, call.key))
        agreed = outcome is not None and set(call.ids) <= _ids(orjson.loads(outcome))
        if agreed and marks.get(call.key, 0) >= call.marks:
            found += 1
        else:
            examples.append(f"lost: {call.field} {call.key}, stored {outcome}, {marks.get(call.key, 0)} rows")
    twice = [mark for mark, rows in marks.items() if rows > 1]
    examples += [f"duplicated: {mark} is on {marks[mark]} rows" for mark in twice]
    return Verdict(acknowledged, found, len(twice), acknowledged - found, tuple(examples[:10]))


def _ids(outcome: Any) -> set[UUID]:
    """Every entity that a stored outcome names."""
    return set(_flat(decode(outcome)))


def _flat(outcome: Any) -> Iterable[UUID]:
    if isinstance(outcome, UUID):
        yield outcome
    elif isinstance(outcome, ItemOutcome):
        if outcome.id is not None:
            yield outcome.id
    elif isinstance(outcome, tuple):
        for part in outcome:
            yield from _flat(part)
