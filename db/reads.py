"""The pool that reads use: raw asyncpg connections in autocommit that never hold session state.

SQLAlchemy's and asyncpg's own pools reset a connection after each use, which costs a
round trip; a connection that only ever runs single statements, or read-only
transactions to their end, has nothing to reset. One whose statement was cancelled
is discarded, because the server may still be busy with it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from db.engine import asyncpg_dsn

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


class ReadsBusy(Exception):
    """No connection became free in time."""


class Reads:
    """At most `size` connections; the most recently used is used next, so that few stay warm."""

    def __init__(
        self,
        url: str,
        *,
        size: int = 10,
        statement_timeout_seconds: float = 10.0,
        acquire_timeout_seconds: float = 5.0,
    ) -> None:
        self._dsn = asyncpg_dsn(url)
        self._size = size
        self._statement_timeout = statement_timeout_seconds
        self._acquire_timeout = acquire_timeout_seconds
        self._idle: list[asyncpg.Connection[Any]] = []
        self._count = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False

    async def open(self, connections: int = 1) -> None:
        """Connect, so that a wrong address stops the start-up and not the first request."""
        made = [await self._take() for _ in range(min(connections, self._size))]
        for connection in made:
            self._give_back(connection, healthy=True)

    async def close(self) -> None:
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close(timeout=2)

    async def fetch_row(self, sql: str, values: Sequence[Any]) -> Sequence[Any]:
        """The one row of a statement, in autocommit."""
        # As in `connection`, without the generator around it: this is what every query goes through.
        connection = await self._take()
        healthy = False
        try:
            row = await connection.fetchrow(sql, *values)
            healthy = True
        except asyncpg.PostgresError as error:
            healthy = _in_step(error)
            raise
        finally:
            self._give_back(connection, healthy=healthy)
        return row  # type: ignore[return-value] # one row, by contract

    async def fetch(self, sql: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        async with self.connection() as connection:
            return await connection.fetch(sql, *values)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """A connection; leave no transaction and no session state behind."""
        connection = await self._take()
        healthy = False
        try:
            yield connection
            healthy = True
        except asyncpg.PostgresError as error:
            healthy = _in_step(error)
            raise
        finally:
            self._give_back(connection, healthy=healthy)

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

    async def _take(self) -> asyncpg.Connection[Any]:
        if not self._idle and self._count >= self._size:
            await self._wait()
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._count -= 1
        self._count += 1
        try:
            return await self._connect()
        except BaseException:
            self._count -= 1
            self._wake()
            raise

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._acquire_timeout):
                while not self._idle and self._count >= self._size:
                    await turn
                    if not self._idle and self._count >= self._size:
                        turn = asyncio.get_running_loop().create_future()
                        self._waiting.appendleft(turn)
        except TimeoutError:
            raise ReadsBusy("no database connection became free in time") from None
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._wake()  # the turn was ours; somebody else may have it
            raise

    def _give_back(self, connection: asyncpg.Connection[Any], *, healthy: bool) -> None:
        if healthy and not self._closed and not connection.is_closed() and not connection.is_in_transaction():
            self._idle.append(connection)
        else:
            connection.terminate()
            self._count -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def _connect(self) -> asyncpg.Connection[Any]:
        return await asyncpg.connect(
            self._dsn,
            timeout=self._acquire_timeout,
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
