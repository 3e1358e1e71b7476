"""The proxy that loses answers to COMMIT, by itself: it cuts there and nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from bench.ports import free_ports
from bench.storm.proxy import Cut, Proxy
from db.engine import asyncpg_dsn

GONE = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError)


@pytest.fixture
async def proxy(empty_database_url: str) -> AsyncIterator[Proxy]:
    host = make_url(empty_database_url).query.get("host")
    if not isinstance(host, str) or not host.startswith("/"):
        pytest.skip("the test server listens on no unix socket")
    made = Proxy(str(Path(host) / ".s.PGSQL.5432"))
    await made.start(*free_ports(1))
    yield made
    await made.stop()


async def through(proxy: Proxy, url: str) -> asyncpg.Connection[asyncpg.Record]:
    address = make_url(url)
    return await asyncpg.connect(
        host="127.0.0.1", port=proxy.port, user=address.username, database=address.database, timeout=10
    )


async def rows(url: str) -> int:
    connection = await asyncpg.connect(asyncpg_dsn(url))
    try:
        found: int = await connection.fetchval("select count(*) from kept")
        return found
    finally:
        await connection.close()


@pytest.fixture
async def kept(empty_database_url: str) -> str:
    connection = await asyncpg.connect(asyncpg_dsn(empty_database_url))
    await connection.execute("create table kept (one int)")
    await connection.close()
    return empty_database_url


async def insert(connection: asyncpg.Connection[Any], commit: str) -> None:
    await connection.execute("begin")
    await connection.execute("insert into kept values ($1)", 1)
    if commit == "prepared":
        statement = await connection.prepare("commit")
        await statement.fetch()
    else:
        await connection.execute(commit)


@pytest.mark.parametrize("commit", ["COMMIT;", "commit", "prepared"])
@pytest.mark.parametrize(("cut", "expected"), [(Cut.ANSWERED, 1), (Cut.UNSENT, 0)])
async def test_the_connection_ends_and_the_rows_are_there_or_not_as_the_cut_says(
    proxy: Proxy, kept: str, monkeypatch: pytest.MonkeyPatch, cut: Cut, expected: int, commit: str
) -> None:
    monkeypatch.setattr(proxy, "cut_now", lambda: cut)
    connection = await through(proxy, kept)
    with pytest.raises(GONE):
        await insert(connection, commit)
    assert connection.is_closed()
    assert await rows(kept) == expected


async def test_without_a_share_everything_passes(proxy: Proxy, kept: str) -> None:
    connection = await through(proxy, kept)
    for _ in range(5):
        await insert(connection, "commit")
    large = "x" * 300_000
    assert await connection.fetchval("select $1::text", large) == large
    await connection.close()
    assert await rows(kept) == 5
    assert (proxy.commits, proxy.cuts.total()) == (5, 0)
