"""Migrations: the tables in code are those of a migrated database, both ways, with data in it."""

from __future__ import annotations

import asyncpg
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncEngine

from db import migrate, revision
from db.engine import asyncpg_dsn, create_write_engine
from tests.conftest import outside_any_loop
from tests.invariants import assert_invariants
from tests.world import make_world


async def _live_a_little(url: str) -> None:
    engine: AsyncEngine = create_write_engine(url)
    try:
        world = await make_world(engine, {"a": 5})
        await world.place(("a", 2))
        await assert_invariants(engine)
    finally:
        await engine.dispose()


async def _orders(url: str) -> int:
    connection = await asyncpg.connect(asyncpg_dsn(url))
    try:
        count: int = await connection.fetchval("select count(*) from orders")
        return count
    finally:
        await connection.close()


def test_a_migrated_database_has_the_tables_of_the_code(database_url: str) -> None:
    assert revision.current(database_url) == revision.head()
    assert migrate.drift(database_url) == []


def test_revisions_are_named_by_their_files() -> None:
    """`revision.head` reads names; Alembic reads what is in the files."""
    assert revision.head() == ScriptDirectory(str(revision.VERSIONS.parent)).get_current_head()


def test_an_older_database_with_data_is_upgraded_and_keeps_it(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    outside_any_loop(_live_a_little(empty_database_url))  # the code of today needs the tables of today
    migrate.downgrade(empty_database_url, "0001")
    migrate.upgrade(empty_database_url)
    assert outside_any_loop(_orders(empty_database_url)) == 1
    assert migrate.drift(empty_database_url) == []


def test_a_database_with_data_is_downgraded_and_upgraded_again(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    outside_any_loop(_live_a_little(empty_database_url))
    migrate.downgrade(empty_database_url, "base")
    assert revision.current(empty_database_url) is None
    migrate.upgrade(empty_database_url)
    outside_any_loop(_live_a_little(empty_database_url))


def test_an_unknown_revision_is_an_error(empty_database_url: str) -> None:
    with pytest.raises(Exception, match="9999"):
        migrate.upgrade(empty_database_url, "9999")
