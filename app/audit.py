"""Writing the audit's refusals, which wait in memory for a second."""

from __future__ import annotations

import asyncio

import asyncpg
import structlog

from db.engine import Engine, NoConnection
from services.audit import RefusedCalls

WRITE_SECONDS = 1.0
FAILED = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, NoConnection)

log = structlog.get_logger("audit")


async def write_refusals(refused: RefusedCalls, engine: Engine) -> None:
    """Every second until cancelled, and once more then."""
    try:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await _write(refused, engine)
    finally:
        await _write(refused, engine)


async def _write(refused: RefusedCalls, engine: Engine) -> None:
    try:
        async with asyncio.timeout(5):
            await refused.write(engine)
    except FAILED as error:
        log.warning("refusals_not_written", error=repr(error))
    if refused.dropped:
        log.warning("refusals_dropped", count=refused.dropped)
        refused.dropped = 0
