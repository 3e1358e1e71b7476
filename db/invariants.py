"""Runs what must hold at every commit (`invariants.sql`) in one snapshot."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg

EXAMPLES = 5
"""So many of the rows that break an invariant are fetched; all of them are counted."""


@dataclass(frozen=True, slots=True)
class Invariant:
    """A sentence that must hold, and the query for the rows that break it."""

    name: str
    query: str


@dataclass(frozen=True, slots=True)
class Finding:
    """How many rows break an invariant in one snapshot, and the first of them."""

    name: str
    violations: int
    examples: tuple[dict[str, Any], ...]


@cache
def invariants() -> tuple[Invariant, ...]:
    """Every query of `invariants.sql`, in its order."""
    text = (Path(__file__).parent / "invariants.sql").read_text()
    parts = re.split(r"^-- name: (.+)$", text, flags=re.MULTILINE)[1:]
    return tuple(
        Invariant(name.strip(), query.strip().rstrip(";"))
        for name, query in zip(parts[::2], parts[1::2], strict=True)
    )


async def findings(connection: asyncpg.Connection[asyncpg.Record]) -> AsyncIterator[Finding]:
    """Check one invariant after the other; all of them see the same snapshot.

    Rows are never changed, so this may run beside anything.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute("set local statement_timeout = 0")
        for invariant in invariants():
            violations: int = await connection.fetchval(f"select count(*) from ({invariant.query}) broken")
            rows = (
                await connection.fetch(f"select * from ({invariant.query}) broken limit {EXAMPLES}")
                if violations
                else []
            )
            yield Finding(invariant.name, violations, tuple(dict(row) for row in rows))


async def violations(connection: asyncpg.Connection[asyncpg.Record]) -> list[Finding]:
    """The invariants that do not hold; empty, ever."""
    return [finding async for finding in findings(connection) if finding.violations]
