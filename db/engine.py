"""The engine that writes use. Reads have a pool of their own (`db/reads.py`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson
from sqlalchemy.engine import URL, make_url

from db.pool import NoConnection, Pool
from db.session import Session

__all__ = [
    "LOCK_TIMEOUT_SECONDS",
    "Engine",
    "NoConnection",
    "Session",
    "asyncpg_dsn",
    "create_write_engine",
    "normalise_url",
]

LOCK_TIMEOUT_SECONDS = 5.0
"""How long a write waits for a row or a rival's idempotency key before it gives up and says so."""

ACQUIRE_TIMEOUT_SECONDS = 5.0

STATEMENT_CACHE_SIZE = 1_000

LOST = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""What the driver raises of its own on a connection that is gone."""


def asyncpg_dsn(url: str) -> str:
    """The same address for asyncpg itself, which knows no SQLAlchemy driver names."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def normalise_url(url: str) -> str:
    """`postgres://` and `postgresql://` addresses, as every host prints them, for our driver."""
    return (
        make_url(url.replace("postgres://", "postgresql://", 1))
        .set(drivername="postgresql+asyncpg")
        .render_as_string(hide_password=False)
    )


class Engine:
    """Opens transactions on a pool of connections to one database."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int,
        statement_timeout_seconds: float,
        lock_timeout_seconds: float,
        application_name: str,
    ) -> None:
        self.url: URL = make_url(normalise_url(url))
        self._dsn = asyncpg_dsn(url)
        self._settings = {
            "TimeZone": "UTC",
            "application_name": application_name,
            # Every promise is checked under the lock of the row that keeps it: nothing stronger is needed.
            "default_transaction_isolation": "read committed",
            "lock_timeout": f"{int(lock_timeout_seconds * 1000)}ms",
            "statement_timeout": f"{int(statement_timeout_seconds * 1000)}ms",
            "idle_in_transaction_session_timeout": "60s",
            "jit": "off",  # plans here are short; compiling them costs more than it saves
            # Found by its keys, also by a plan that was made when a table was still small.
            "enable_seqscan": "off",
        }
        self._pool = Pool(self._connect, size=pool_size, acquire_timeout_seconds=ACQUIRE_TIMEOUT_SECONDS)
        self._listeners: list[Callable[[Any], None]] = []

    @asynccontextmanager
    async def begin(
        self, *, gathering: bool = False, lock_timeout_seconds: float | None = None
    ) -> AsyncIterator[Session]:
        """One transaction, committed when the block ends and rolled back when it raises.

        `lock_timeout_seconds`: how long it waits for a lock, where that is not what the engine's others wait.
        """
        async with self.connect(gathering=gathering, lock_timeout_seconds=lock_timeout_seconds) as session:
            yield session
            await session.commit()

    @asynccontextmanager
    async def connect(
        self, *, gathering: bool = False, lock_timeout_seconds: float | None = None
    ) -> AsyncIterator[Session]:
        """A transaction that is rolled back unless the block commits it.

        Raises NoConnection when none is free in time.
        """
        connection = await self._pool.take()
        session = Session(connection, gathering=gathering, lock_timeout_seconds=lock_timeout_seconds)
        ended = False
        try:
            yield session
            await session.rollback()
            ended = True
        except Exception:
            ended = await _ended(session)
            raise
        finally:
            # Not ended: cancelled or lost. Nobody waits for a server that is gone.
            self._pool.give_back(connection, healthy=ended)

    async def dispose(self) -> None:
        """Close what is idle."""
        await self._pool.close()

    def on_statement(self, listener: Callable[[Any], None]) -> None:
        """Call `listener` with asyncpg's record of every statement sent on connections made from now on."""
        self._listeners.append(listener)

    async def _connect(self) -> asyncpg.Connection[Any]:
        connection: asyncpg.Connection[Any] = await asyncpg.connect(
            self._dsn,
            timeout=ACQUIRE_TIMEOUT_SECONDS,
            statement_cache_size=STATEMENT_CACHE_SIZE,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=1 << 20,
            server_settings=self._settings,
        )
        for name, encode, decode in (
            ("json", _text_to_json, orjson.loads),
            ("jsonb", _text_to_jsonb, _from_jsonb),
        ):
            await connection.set_type_codec(
                name, schema="pg_catalog", encoder=encode, decoder=decode, format="binary"
            )
        for listener in self._listeners:
            connection.add_query_logger(listener)
        return connection


async def _ended(session: Session) -> bool:
    """Whether the transaction could be rolled back, so that the connection may be used on."""
    try:
        await session.rollback()
    except (*LOST, asyncpg.PostgresError):
        return False
    return True


# JSON arrives as text that the statement's types have made, and leaves as values.


def _text_to_json(text: str) -> bytes:
    return text.encode()


def _text_to_jsonb(text: str) -> bytes:
    return b"\x01" + text.encode()  # the version of the binary format


def _from_jsonb(sent: bytes) -> Any:
    return orjson.loads(sent[1:])


def create_write_engine(
    url: str,
    *,
    pool_size: int = 10,
    statement_timeout_seconds: float = 10.0,
    lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS,
    application_name: str = "oms-write",
) -> Engine:
    """An engine for the unit of work: READ COMMITTED with explicit ordered locks."""
    return Engine(
        url,
        pool_size=pool_size,
        statement_timeout_seconds=statement_timeout_seconds,
        lock_timeout_seconds=lock_timeout_seconds,
        application_name=application_name,
    )
