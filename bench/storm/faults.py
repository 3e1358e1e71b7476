"""What is done to the fleet. Each fault holds for a while, is repaired, and says when that was."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from bench.storm.fleet import Fleet, faketime
from bench.storm.wal_disk import not_mountable

COMMITS_LOST = 0.25
"""The share of COMMITs whose answer is lost, while that fault holds."""

MOST_FILLS = 50
FILLERS = (1500, 500, 100, 0)
"""Characters in rows that fill pages: ever smaller ones, for the room that the larger ones left."""

REFUSED_START = b"due to startup process failure"
"""What PostgreSQL says when it gives up a start."""

LOG_FILE_BYTES = 1 << 20
"""A segment of the write-ahead log, which must fit: a server that cannot write it stops altogether."""


@dataclass(slots=True)
class Injected:
    """One injection: when it was over (monotonic seconds), and figures that tell that it was one."""

    recovered_at: float
    figures: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """`inject(fleet, hold)` does it, holds it for about `hold` seconds and repairs it.

    `undo` brings back what a fault leaves changed on purpose until its phase ends.
    `skipped` says why it cannot be done on this machine, if it cannot.
    """

    name: str
    meaning: str
    inject: Callable[[Fleet, float], Awaitable[Injected]]
    undo: Callable[[Fleet], Awaitable[None]] | None = None
    skipped: Callable[[], str | None] = lambda: None


async def kill_servers(fleet: Fleet, hold: float) -> Injected:
    for server in fleet.servers:
        server.send(signal.SIGKILL)
    await asyncio.sleep(0.05)
    await fleet.any_answering()
    return Injected(time.monotonic(), {"killed": len(fleet.servers)})


async def stop_postgres(fleet: Fleet, hold: float) -> Injected:
    async with fleet.postgres_stopped(at_once=True):
        await asyncio.sleep(hold)
    await fleet.postgres_back()
    return Injected(time.monotonic(), {"stopped": 1})


async def terminate_backends(fleet: Fleet, hold: float) -> Injected:
    ended, until = 0, time.monotonic() + hold
    while time.monotonic() < until:
        ended += await fleet.terminate_backends()
        await asyncio.sleep(0.25)
    return Injected(time.monotonic(), {"terminated": ended})


async def lose_commits(fleet: Fleet, hold: float) -> Injected:
    before = dict(fleet.proxy.cuts)
    fleet.proxy.share = COMMITS_LOST
    try:
        await asyncio.sleep(hold)
    finally:
        fleet.proxy.share = 0.0
    figures = {f"cut_{cut.lower()}": count - before.get(cut, 0) for cut, count in fleet.proxy.cuts.items()}
    return Injected(time.monotonic(), figures)


async def kill_workers(fleet: Fleet, hold: float) -> Injected:
    """The worker process again and again, and the connections on which servers do the same work."""
    killed, until = 0, time.monotonic() + hold
    while time.monotonic() < until:
        for worker in fleet.workers:
            worker.send(signal.SIGKILL)
            killed += 1
        connection = await fleet.connect()
        try:
            killed += await connection.fetchval(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity "
                "where application_name in ('oms-jobs', 'oms-relay')"
            )
        finally:
            await connection.close()
        await asyncio.sleep(0.4)
    return Injected(time.monotonic(), {"killed": killed})


async def fill_disk(fleet: Fleet, hold: float) -> Injected:
    """The outbox cannot grow any more: whatever tells of a change fails, at the end of its transaction.

    By RLIMIT_FSIZE of PostgreSQL's processes, which needs no file system of its own; the
    error is EFBIG where a disk would say ENOSPC. The limit has to let the write-ahead
    log live, so the outbox is first blown up to beyond that, by inserts that are undone;
    under the limit, more of them take up the room that its pages have left.
    """
    connection = await fleet.connect()
    try:
        # Vacuum would give the room back.
        await connection.execute("alter table outbox set (autovacuum_enabled = false)")
        while (size := await connection.fetchval("select pg_relation_size('outbox')")) <= LOG_FILE_BYTES:
            await _fill(connection, FILLERS[0], rows=1000)
        await fleet.limit_files(size)
        for characters in FILLERS:
            with contextlib.suppress(asyncpg.PostgresError):
                for _ in range(MOST_FILLS):
                    await _fill(connection, characters, rows=20)
    finally:
        await connection.close()
    before = await _failures(fleet)
    try:
        await asyncio.sleep(2 * hold)
    finally:
        await fleet.limit_files(None)
    recovered_at = time.monotonic()
    return Injected(recovered_at, {"failed_writes": await _failures(fleet) - before})


async def _fill(connection: asyncpg.Connection[asyncpg.Record], characters: int, rows: int) -> None:
    """Take up room in the outbox's file; nothing is in it afterwards."""
    filling = connection.transaction()
    await filling.start()
    try:
        await connection.execute(_FILL, "x" * characters, rows)
    finally:
        await filling.rollback()


_FILL = """
insert into outbox (event_id, type, aggregate_kind, aggregate_id, version, subject_kind, subject_id,
    details, origin, actor, occurred_at)
select gen_random_uuid(), 'STOCK_CHANGED', 'STOCK_LEVEL', gen_random_uuid(), 1, 'STOCK_LEVEL',
    gen_random_uuid(), jsonb_build_object('filler', $1::text), 'PLACED', 'storm', now()
from generate_series(1, $2::int)
"""


async def _failures(fleet: Fleet) -> int:
    """How often PostgreSQL could not let a file grow, by its log."""
    log = await asyncio.to_thread(fleet.postgres.log_path.read_bytes)
    return log.count(b"File too large")


async def fill_wal_disk(fleet: Fleet, hold: float) -> Injected:
    """Not a byte is left where the write-ahead log grows: PostgreSQL panics, and cannot start until there is room."""
    if not fleet.wal_disk.attached:
        async with fleet.postgres_stopped():
            await fleet.wal_disk.attach()
        await fleet.postgres_back()
        await asyncio.sleep(hold)
    log = fleet.postgres.log_path
    start = log.stat().st_size
    fleet.wal_disk.fill()
    while REFUSED_START not in _since(log, start):
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection = await fleet.connect()
            try:
                await connection.execute(
                    "select pg_switch_wal() from pg_logical_emit_message(false, 'storm', '')"
                )
            finally:
                connection.terminate()
        await asyncio.sleep(0.05)
    await asyncio.sleep(hold)
    said = _since(log, start)
    fleet.wal_disk.free()
    await fleet.postgres_back()
    recovered_at = time.monotonic()
    return Injected(
        recovered_at,
        {
            "panics": said.count(b"PANIC:"),
            "without_space": said.count(b"No space left on device"),
            "starts_refused": said.count(REFUSED_START),
        },
    )


def _since(log: Path, start: int) -> bytes:
    """What PostgreSQL has said since its log was so long; a start may have put a long one aside."""
    said = log.read_bytes()
    if len(said) < start:
        return log.with_suffix(".log.1").read_bytes()[start:] + said
    return said[start:]


async def wal_disk_away(fleet: Fleet) -> None:
    if fleet.wal_disk.attached:
        async with fleet.postgres_stopped():
            await fleet.wal_disk.detach()
        await fleet.postgres_back()


async def shift_clocks(fleet: Fleet, hold: float) -> Injected:
    """One server two hours ahead, the other two hours behind."""
    await fleet.set_clocks("+2h", "-2h")
    return Injected(time.monotonic(), {"servers": 2})


async def set_clocks_right(fleet: Fleet) -> None:
    await fleet.set_clocks(None, None)


async def exhaust_pools(fleet: Fleet, hold: float) -> Injected:
    """Every connection slot of PostgreSQL taken, and every pooled connection waiting for a lock."""
    async with contextlib.AsyncExitStack() as held:
        locking = await fleet.connect()
        held.push_async_callback(locking.close)
        transaction = locking.transaction()
        await transaction.start()
        await locking.execute("set local lock_timeout = '5s'")
        await locking.execute("select from stock_level order by id for update")
        taken = 0
        with contextlib.suppress(asyncpg.TooManyConnectionsError):
            while taken < 200:
                connection = await fleet.connect()
                held.push_async_callback(connection.close)
                taken += 1
        await asyncio.sleep(hold)
        waiting: int = await locking.fetchval(
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        )
        await transaction.rollback()
    return Injected(time.monotonic(), {"slots_taken": taken, "waiting": waiting})


def _no_limits() -> str | None:
    return None if shutil.which("prlimit") else "the program prlimit is not installed (Debian: util-linux)"


def _no_faketime() -> str | None:
    return None if faketime() else "libfaketime is not installed (Debian: apt-get install faketime)"


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("server", "both servers killed with SIGKILL", kill_servers),
        Fault("postgres", "PostgreSQL stopped at once and started again", stop_postgres),
        Fault("backends", "every backend terminated, several times a second", terminate_backends),
        Fault("commit", "the connection cut between COMMIT and its answer", lose_commits),
        Fault("workers", "workers killed, their connections cut", kill_workers),
        Fault("disk", "the outbox cannot grow", fill_disk, skipped=_no_limits),
        Fault(
            "wal",
            "no space left on the disk of the write-ahead log",
            fill_wal_disk,
            wal_disk_away,
            not_mountable,
        ),
        Fault(
            "clock",
            "one server two hours ahead, one behind",
            shift_clocks,
            set_clocks_right,
            _no_faketime,
        ),
        Fault("pool", "every connection taken or waiting for a lock", exhaust_pools),
    )
}
