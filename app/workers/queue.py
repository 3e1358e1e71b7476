"""The queue of jobs: pgqueuer's tables, in a schema of their own beside ours.

`oms migrate` installs them; Alembic neither knows nor compares that schema.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import asyncpg
import orjson
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import (
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.settings import DBSettings
from pgqueuer.domain.types import Channel
from pgqueuer.queries import Queries

from db.engine import Session, asyncpg_dsn
from services.consumers import Job

SCHEMA = "pgqueuer"
SETTINGS = DBSettings(db_schema=SCHEMA, prefix="", channel=Channel("oms_jobs"))

_INSTALLING = 7_203_117
"""The advisory lock of whoever installs: two migrations may run at once."""

KEPT_LOG = "1 day"


def install(url: str) -> None:
    """Create the queue's tables, or bring them to this release's; does nothing when they are there."""
    asyncio.run(install_at(url))


async def install_at(url: str) -> None:
    """The same, where an event loop runs already."""
    connection = await asyncpg.connect(asyncpg_dsn(url))
    try:
        await connection.execute("select pg_advisory_lock($1)", _INSTALLING)
        queries = _queries(connection)
        if await queries.schema_is_installed():
            await queries.upgrade()
        else:
            # One transaction: an interrupted installation leaves nothing behind.
            async with connection.transaction():
                await queries.install()
    finally:
        await connection.close()


def _queries(connection: asyncpg.Connection) -> Queries:
    return Queries(
        AsyncpgDriver(connection),
        qbe=QueryBuilderEnvironment(SETTINGS),
        qbq=QueryQueueBuilder(SETTINGS),
        qbs=QuerySchedulerBuilder(SETTINGS),
    )


def manager(connection: asyncpg.Connection) -> QueueManager:
    """Takes jobs from the queue; the caller registers what it runs them with."""
    return QueueManager(_queries(connection), channel=SETTINGS.channel)


def payload(subject_id: UUID) -> bytes:
    return orjson.dumps({"id": str(subject_id)})


def subject_of(sent: bytes | None) -> UUID:
    return UUID(orjson.loads(sent or b"{}")["id"])


async def enqueue(session: Session, jobs: Sequence[Job]) -> None:
    """Put jobs on the queue in the session's transaction; one whose name waits already is there."""
    await _queries(await session.driver()).enqueue(
        [job.kind.value for job in jobs],
        [payload(job.subject_id) for job in jobs],
        [0] * len(jobs),
        dedupe_key=[job.dedupe for job in jobs],
        on_conflict="skip",
    )


async def forget_log(session: Session) -> None:
    """Drop the queue's own record of what it ran, once counted and a day old."""
    names = SETTINGS.qualified
    connection = await session.driver()
    await connection.execute(
        f"delete from {names.queue_table_log} where aggregated and created < now() - interval '{KEPT_LOG}'"
    )
