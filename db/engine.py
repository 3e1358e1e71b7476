"""The engine that writes use. Reads have a pool of their own (`db/reads.py`)."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

Session = AsyncConnection
"""What a use case writes through: one connection inside one transaction, Core statements only."""

LOCK_TIMEOUT_SECONDS = 5
"""How long a write waits for a row or a rival's idempotency key before it gives up and says so."""


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


def create_write_engine(
    url: str,
    *,
    pool_size: int = 10,
    statement_timeout_seconds: float = 10.0,
    application_name: str = "oms-write",
    **options: Any,
) -> AsyncEngine:
    """An engine for the unit of work.

    READ COMMITTED with explicit ordered locks: every promise is checked under the
    lock of the row that keeps it, so nothing stronger is needed.
    """
    return create_async_engine(
        normalise_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        isolation_level="READ COMMITTED",
        connect_args={
            "prepared_statement_cache_size": 500,
            "server_settings": {
                "TimeZone": "UTC",
                "application_name": application_name,
                "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
                "statement_timeout": f"{int(statement_timeout_seconds * 1000)}ms",
                "idle_in_transaction_session_timeout": "60s",
                "jit": "off",  # plans here are short; compiling them costs more than it saves
            },
        },
        **options,
    )
