"""The databases of a run, on one embedded PostgreSQL that is kept between runs."""

from __future__ import annotations

import asyncio

import asyncpg

from app.cli.database import bring_to_head
from app.postgres import EmbeddedPostgres
from bench.data import fill, filled
from bench.servers import PEER, Skipped
from db.engine import asyncpg_dsn


async def shop(postgres: EmbeddedPostgres, orders: int) -> str:
    """The address of a database with this many orders; made when it is missing or of another release."""
    name = f"bench_{orders}"
    url = postgres.url(name)
    if not await _exists(postgres, name):
        await _administer(postgres, f"create database {name}")
    await asyncio.to_thread(bring_to_head, url)
    if not await filled(asyncpg_dsn(url), orders):
        await _administer(postgres, f"drop database {name}", f"create database {name}")
        await asyncio.to_thread(bring_to_head, url)
        await fill(asyncpg_dsn(url), orders)
    return url


async def peer(postgres: EmbeddedPostgres) -> str:
    """The address of the Node peer's own database, as its `oms.sql` makes it. Raises `Skipped`."""
    name, script = "bench_peer", PEER / "oms.sql"
    if not script.exists():
        raise Skipped("the peer is not beside this checkout, in ../shared/peers/mercurius")
    dsn = asyncpg_dsn(postgres.url(name))
    if await _exists(postgres, name):
        return dsn
    await _administer(postgres, f"create database {name}_new")
    connection = await asyncpg.connect(asyncpg_dsn(postgres.url(f"{name}_new")))
    try:
        await connection.execute(script.read_text().replace("vacuum analyze;", ""))
        await connection.execute("vacuum (freeze, analyze)")
    finally:
        await connection.close()
    await _administer(postgres, f"alter database {name}_new rename to {name}")
    return dsn


async def copy(postgres: EmbeddedPostgres, source: str, name: str) -> str:
    """The address of a database that is a fresh copy of `source`, to be written to."""
    await _administer(
        postgres,
        f"drop database if exists {name} with (force)",
        f"create database {name} template {source} strategy file_copy",
    )
    return postgres.url(name)


async def version(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        found: str = await connection.fetchval("show server_version")
        return found
    finally:
        await connection.close()


async def _exists(postgres: EmbeddedPostgres, name: str) -> bool:
    connection = await asyncpg.connect(asyncpg_dsn(postgres.url("postgres")))
    try:
        return bool(await connection.fetchval("select 1 from pg_database where datname = $1", name))
    finally:
        await connection.close()


async def _administer(postgres: EmbeddedPostgres, *statements: str) -> None:
    connection = await asyncpg.connect(asyncpg_dsn(postgres.url("postgres")))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
