"""Schema migrations, run from code: the package carries its own Alembic environment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine

from db.engine import normalise_url
from db.models import Base

T = TypeVar("T")

LOCK_TIMEOUT = "5s"
"""A migration that cannot get its lock gives up instead of queueing every reader behind it."""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _run(url: str, work: Callable[[Connection], T]) -> T:
    async def inside() -> T:
        engine = create_async_engine(
            normalise_url(url),
            poolclass=pool.NullPool,
            connect_args={"server_settings": {"lock_timeout": LOCK_TIMEOUT, "TimeZone": "UTC"}},
        )
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(work)
        finally:
            await engine.dispose()

    return asyncio.run(inside())


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database to `revision`, in one transaction."""

    def work(connection: Connection) -> None:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    _run(url, work)


def downgrade(url: str, revision: str) -> None:
    """Take the database back to `revision` ("base" is empty), in one transaction."""

    def work(connection: Connection) -> None:
        config = _config()
        config.attributes["connection"] = connection
        command.downgrade(config, revision)

    _run(url, work)


def drift(url: str) -> list[str]:
    """What the tables in code and a migrated database disagree about; empty when nothing."""

    def work(connection: Connection) -> list[str]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [str(difference) for difference in compare_metadata(context, Base.metadata)]

    return _run(url, work)


def write_revision(url: str, message: str, revision: str) -> None:
    """For developers: write the next migration from the difference between tables and database."""

    def work(connection: Connection) -> None:
        config = _config()
        config.attributes["connection"] = connection
        command.revision(config, message=message, autogenerate=True, rev_id=revision)

    _run(url, work)
