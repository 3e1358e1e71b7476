"""At which revision a database is, and which one this code needs: without Alembic, which a server never runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg

from db.engine import asyncpg_dsn

VERSIONS = Path(__file__).parent / "migrations" / "versions"


def head() -> str:
    """The newest revision this code knows: the number its file's name begins with."""
    revisions = sorted(path.name.partition("_")[0] for path in VERSIONS.glob("[0-9]*_*.py"))
    if not revisions:
        raise RuntimeError("no migrations are packaged")
    return revisions[-1]


def current(url: str) -> str | None:
    """The revision the database is at; None when it was never migrated."""

    async def ask() -> str | None:
        connection = await asyncpg.connect(asyncpg_dsn(url))
        try:
            revision: str | None = await connection.fetchval("select version_num from alembic_version")
        except asyncpg.UndefinedTableError:
            return None
        else:
            return revision
        finally:
            await connection.close()

    return asyncio.run(ask())
