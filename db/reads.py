"""Where reads run: single statements in autocommit, or read-only transactions to their end, on a pool of their own.

A connection whose statement was cancelled is discarded, because the server may still be busy with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from db.engine import asyncpg_dsn
from db.pool import Pool

STATEMENT_CACHE_SIZE = 2_048
"""At least as many as the planner keeps plans: a statement that is prepared again costs a round trip."""


REPLAY_POLL_SECONDS = 0.005
"""How often a replica that is behind is asked again; streaming replicas are milliseconds behind."""


GOING = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
)
"""What a server says last on a connection."""


class Reads:
    """At most `size` connections. Whatever asks raises `NoConnection` when none becomes free in time."""

    def __init__(
        self,
        url: str,
        *,
        size: int = 10,
        statement_timeout_seconds: float = 10.0,
        acquire_timeout_seconds: float = 5.0,
    ) -> None:
        self._dsn = asyncpg_dsn(url)
        self._statement_timeout = statement_timeout_seconds
        self._connect_timeout = acquire_timeout_seconds
        self._pool = Pool(self._connect, size=size, acquire_timeout_seconds=acquire_timeout_seconds)
        self._closed = False

    async def open(self, connections: int = 1) -> None:
        """Connect, so that a wrong address stops the start-up and not the first request."""
        made = [await self._pool.take() for _ in range(min(connections, self._pool.size))]
        for connection in made:
            self._pool.give_back(connection, healthy=True)

    async def close(self) -> None:
        self._closed = True
        await self._pool.close()

    async def fetch_row(self, sql: str, values: Sequence[Any]) -> Sequence[Any]:
        """The one row of a statement, in autocommit."""
        # As in `connection`, without the generator around it: this is what every query goes through.
        connection = await self._pool.take()
        healthy = False
        try:
            row = await connection.fetchrow(sql, *values)
            healthy = True
        except asyncpg.PostgresError as error:
            healthy = _in_step(error)
            raise
        finally:
            self._pool.give_back(connection, healthy=healthy and not self._closed)
        return row  # type: ignore[return-value] # one row, by contract

    async def fetch(self, sql: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        async with self.connection() as connection:
            return await connection.fetch(sql, *values)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """A connection; leave no transaction and no session state behind."""
        connection = await self._pool.take()
        healthy = False
        try:
            yield connection
            healthy = True
        except asyncpg.PostgresError as error:
            healthy = _in_step(error)
            raise
        finally:
            self._pool.give_back(connection, healthy=healthy and not self._closed)

    async def position(self) -> str:
        """How far the primary has written: what a replica must have replayed to show all of it."""
        row = await self.fetch_row("select pg_current_wal_insert_lsn()::text", ())
        return str(row[0])

    async def has_replayed(self, position: str, *, within_seconds: float) -> bool:
        """Whether a replica shows what the primary had written at `position`; waits for it a while.

        Asked in a statement of its own: the snapshot of a statement that asked and read
        in one could be older than the answer.
        """
        deadline = asyncio.get_running_loop().time() + within_seconds
        while True:
            row = await self.fetch_row(
                "select not pg_is_in_recovery() or coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)",
                (position,),
            )
            if row[0]:
                return True
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(REPLAY_POLL_SECONDS)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """Several statements that see one state of the database."""
        async with (
            self.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    async def _connect(self) -> asyncpg.Connection[Any]:
        return await asyncpg.connect(
            self._dsn,
            timeout=self._connect_timeout,
            statement_cache_size=STATEMENT_CACHE_SIZE,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=1 << 20,
            server_settings={
                "TimeZone": "UTC",
                "DateStyle": "ISO",
                "application_name": "oms-read",
                "default_transaction_read_only": "on",
                "statement_timeout": str(int(self._statement_timeout * 1000)),
                "idle_in_transaction_session_timeout": "30000",
                "jit": "off",  # statements here are short; compiling them costs more than it saves
                # A search's candidates are the first that are found: workers would find others each time.
                "max_parallel_workers_per_gather": "0",
                # Planning a page takes longer than running it, and constants that matter are in the text.
                "plan_cache_mode": "force_generic_plan",
            },
        )


def _in_step(error: asyncpg.PostgresError) -> bool:
    """The server answered, so the connection may be used on, unless it is going away."""
    return not isinstance(error, GOING)
