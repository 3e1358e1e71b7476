"""Checkouts end within five seconds of their time, though the worker at it is killed, while orders are placed.

Served processes over one database. The one whose worker is ending the checkouts is held at a
line, by a lock on what that line writes, and killed with SIGKILL there; the lock is gone then.
Either another process is there, or the same is started again, which takes the time it takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from app.workers.queue import install_at
from bench.ports import free_ports
from bench.storm.fleet import SECRET, Member, answers
from db.engine import asyncpg_dsn, create_write_engine
from domain.errors import Refused
from services.reservations import ReserveLine, ReserveStock, reserve_stock
from tests.invariants import assert_invariants
from tests.world import World, make_world

pytestmark = pytest.mark.slow

WITHIN_SECONDS = 5.0
DUE_IN_SECONDS = 2.0
RESERVATIONS = 3
PLACING = 4
"""Callers that place orders of the same products, one after the other."""

LINES = {
    "its events": "lock table outbox in exclusive mode",
    "its key": "lock table idempotency_key in exclusive mode",
    "the levels": "select from stock_level for update",
}


@contextlib.asynccontextmanager
async def served(
    url: str, folder: Path, connection: asyncpg.Connection[asyncpg.Record], count: int
) -> AsyncIterator[dict[str, Member]]:
    """So many `oms serve`, each started again when it ends, by the role that it connects as."""
    roles = [f"oms_{uuid4().hex}" for _ in range(count)]
    for role in roles:
        await connection.execute(f"create role {role} superuser login")
    members = [
        Member(
            f"server{number}",
            [str(Path(sys.executable).parent / "oms"), "serve", "--port", str(port)],
            {
                "OMS_DATABASE_URL": make_url(url).set(username=role).render_as_string(hide_password=False),
                "OMS_DEVELOPMENT_SECRET": SECRET,
            },
            folder / f"server{number}.log",
            port,
        )
        for number, (role, port) in enumerate(zip(roles, free_ports(count), strict=True))
    ]
    keeping = [asyncio.create_task(member.keep()) for member in members]
    try:
        for member in members:
            member.wanted.set()
            await ready(member)
        yield dict(zip(roles, members, strict=True))
    finally:
        await asyncio.gather(*(member.end() for member in members))
        for task in keeping:
            task.cancel()
        for role in roles:
            await connection.execute(f"reassign owned by {role} to current_user")
            await connection.execute(f"drop role {role}")


async def ready(member: Member) -> None:
    async with asyncio.timeout(60):
        while member.port is None or not await answers(member.port):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def orders_placed(url: str, world: World) -> AsyncIterator[None]:
    """Others at work on the same levels until the block ends."""
    engine = create_write_engine(url, pool_size=PLACING, application_name="placing")
    placing = replace(world, engine=engine)  # type: ignore[arg-type] # an engine of its own
    ended = asyncio.Event()

    async def place() -> None:
        while not ended.is_set():  # never cancelled: who stops waiting for a write does not end it
            with contextlib.suppress(Refused):
                await placing.place(("a", 1), ("b", 1))

    tasks = [asyncio.create_task(place()) for _ in range(PLACING)]
    try:
        yield
    finally:
        ended.set()
        await asyncio.gather(*tasks)
        await engine.dispose()


async def until(connection: asyncpg.Connection[asyncpg.Record], question: str) -> Any:
    """The answer, once it is a true one."""
    async with asyncio.timeout(30):
        while not (answer := await connection.fetchval(question)):  # noqa: ASYNC110 - of the database
            await asyncio.sleep(0.02)
    return answer


STUCK = (
    "select usename from pg_stat_activity where datname = current_database() and usename <> current_user "
    "and application_name = 'oms-write' and wait_event_type = 'Lock' limit 1"
)
"""Whose worker is at its line: the servers write nothing else here."""

FREED = "select not exists(select from reservation where status = 'ACTIVE') and sum(reserved) = 0 from stock_level"


@pytest.mark.parametrize("line", LINES)
async def test_another_process_ends_what_a_killed_one_was_ending(
    engine: AsyncEngine, database_url: str, tmp_path: Path, line: str
) -> None:
    late, _ = await killed_at(line, engine, database_url, tmp_path, processes=2)
    assert late <= WITHIN_SECONDS


async def test_a_process_that_starts_again_ends_what_it_was_ending(
    engine: AsyncEngine, database_url: str, tmp_path: Path
) -> None:
    late, starting = await killed_at("the levels", engine, database_url, tmp_path, processes=1)
    assert late <= WITHIN_SECONDS + starting


async def killed_at(
    line: str, engine: AsyncEngine, url: str, folder: Path, *, processes: int
) -> tuple[float, float]:
    """Seconds from the checkouts' time until their stock was free; seconds that a new start took."""
    await install_at(url)
    world = await make_world(engine, {"a": 10_000, "b": 10_000})
    watching = await asyncpg.connect(asyncpg_dsn(url))
    holding = await asyncpg.connect(asyncpg_dsn(url))
    try:
        async with served(url, folder, watching, processes) as members:
            command = ReserveStock(
                channel_id=world.channel_id,
                lines=(ReserveLine(sku="a", quantity=2), ReserveLine(sku="b", quantity=1)),
                minutes=5,
            )
            for _ in range(RESERVATIONS):
                await world.run(reserve_stock, command, world.partner)
            async with orders_placed(url, world):
                due = await watching.fetchval(
                    "update reservation set expires_at = now() + make_interval(secs => $1) returning expires_at",
                    DUE_IN_SECONDS,
                )
                await asyncio.sleep(DUE_IN_SECONDS - 0.2)
                async with holding.transaction():  # its end lets everybody go on, also when this fails
                    await holding.execute(LINES[line])
                    await until(
                        watching, "select not exists(select from reservation where expires_at > now())"
                    )
                    victim = members[await until(watching, STUCK)]
                    victim.send(signal.SIGKILL)
                    killed = time.monotonic()
                again = asyncio.create_task(started_again(victim))
                await until(watching, FREED)
                late = await watching.fetchval("select extract(epoch from clock_timestamp() - $1)", due)
                starting = await again - killed
        await assert_invariants(engine)
        return float(late), starting
    finally:
        await watching.close()
        await holding.close()


async def started_again(member: Member) -> float:
    while member.starts < 2:  # noqa: ASYNC110 - its keeper starts it soon
        await asyncio.sleep(0.02)
    await ready(member)
    return time.monotonic()
