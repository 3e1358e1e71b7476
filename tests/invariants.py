"""Holding a database to `db/invariants.sql`, after every scenario."""

from __future__ import annotations

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import asyncpg_dsn
from db.invariants import violations


async def assert_invariants(engine: AsyncEngine) -> None:
    """Fail with every invariant that does not hold, and the first rows that break it."""
    connection = await asyncpg.connect(asyncpg_dsn(engine.url.render_as_string(hide_password=False)))
    try:
        broken = await violations(connection)
    finally:
        await connection.close()
    assert not broken, "\n".join(
        f"{finding.name}: {finding.violations}, such as {finding.examples}" for finding in broken
    )
