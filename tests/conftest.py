"""One PostgreSQL a run, one migrated template in it, one clone of that template a test.

`OMS_TEST_POSTGRES_BIN=/usr/lib/postgresql/15/bin` runs the suite on another release,
`OMS_TEST_DATABASE_URL` on a server that runs already (its user must be a superuser).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import asyncpg
import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from app.postgres import EmbeddedPostgres
from db.engine import asyncpg_dsn, create_write_engine, normalise_url

T = TypeVar("T")

TEMPLATE = "oms_template"
RUN = "oms_test_postgres_url"
"""The key under which pytest-xdist's controller tells its workers where PostgreSQL is."""

FAST = {
    "fsync": "off",  # a test run's data is thrown away
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "128MB",
    "max_connections": "200",
    "autovacuum": "off",
    "max_wal_size": "4GB",
}


class Postgres(Protocol):
    """A server that tests may make databases on."""

    def url(self, database: str = ...) -> str:
        """The address of one of its databases."""


class RunningPostgres:
    """A server that somebody else started, by the address of one of its databases."""

    def __init__(self, url: str) -> None:
        self._url = make_url(normalise_url(url))

    def url(self, database: str = "postgres") -> str:
        """The address of one of its databases."""
        return self._url.set(database=database).render_as_string(hide_password=False)


def outside_any_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run to completion beside whatever event loop pytest-asyncio may have in this thread."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


async def administer(postgres: Postgres, *statements: str) -> None:
    """Statements that no transaction may hold, such as CREATE DATABASE."""
    connection = await asyncpg.connect(asyncpg_dsn(postgres.url("postgres")))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def build_template(postgres: Postgres) -> None:
    """Make and migrate the template unless another worker of this run has."""
    from app.cli.database import bring_to_head  # noqa: PLC0415 - loads every table: rules' tests need none

    connection = await asyncpg.connect(asyncpg_dsn(postgres.url("postgres")))
    try:
        await connection.execute("select pg_advisory_lock(hashtext($1))", TEMPLATE)
        if await connection.fetchval("select 1 from pg_database where datname = $1", TEMPLATE):
            return
        unfinished = f"{TEMPLATE}_{uuid.uuid4().hex}"
        await connection.execute(f"create database {unfinished}")
        await asyncio.to_thread(bring_to_head, postgres.url(unfinished))
        await connection.execute(f"alter database {unfinished} rename to {TEMPLATE}")
    finally:
        await connection.close()


def memory_directory() -> Path | None:
    """Where files stay in memory, if that is large enough: there a clone takes 9 ms instead of 50."""
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a private name in it
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 4 * 1024**3
    return memory if roomy else None


@contextlib.contextmanager
def started_postgres() -> Iterator[Postgres]:
    """The run's own server, in a directory that goes with it; or the one the environment names."""
    if given := os.environ.get("OMS_TEST_DATABASE_URL"):
        server = RunningPostgres(given)
        outside_any_loop(administer(server, f"drop database if exists {TEMPLATE} with (force)"))
        yield server
        return
    chosen = os.environ.get("OMS_TEST_POSTGRES_BIN")
    directory = Path(tempfile.mkdtemp(prefix="oms-test-", dir=memory_directory()))
    directory.chmod(0o755)  # releases before 16 cannot run as another user in a private directory
    try:
        with EmbeddedPostgres(
            directory, binary_directory=Path(chosen) if chosen else None, settings=FAST
        ) as embedded:
            yield embedded
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class Controller:
    """With pytest-xdist the controller owns the server: it outlives every worker."""

    def __init__(self) -> None:
        self.stack = contextlib.ExitStack()
        self.url = ""

    def pytest_configure_node(self, node: Any) -> None:
        if not self.url:
            self.url = self.stack.enter_context(started_postgres()).url("postgres")
        node.workerinput[RUN] = self.url

    def pytest_unconfigure(self) -> None:
        self.stack.close()


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("dsession"):
        config.pluginmanager.register(Controller(), "oms-postgres")


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """A running server; `.url(database)` is the address of a database on it."""
    if shared := getattr(request.config, "workerinput", {}).get(RUN):
        yield RunningPostgres(shared)
        return
    with started_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def template(postgres: Postgres) -> str:
    """The name of a migrated database to clone; nobody may stay connected to it."""
    outside_any_loop(build_template(postgres))
    return TEMPLATE


@pytest.fixture
def empty_database_url(postgres: Postgres) -> Iterator[str]:
    """A database with nothing in it, not even migrations, for this test alone."""
    name = f"oms_test_{uuid.uuid4().hex}"
    outside_any_loop(administer(postgres, f"create database {name} strategy file_copy"))
    yield postgres.url(name)
    outside_any_loop(administer(postgres, f"drop database if exists {name} with (force)"))


@pytest.fixture
def database_url(postgres: Postgres, template: str) -> Iterator[str]:
    """A migrated database for this test alone, as `postgresql+asyncpg://…`."""
    name = f"oms_test_{uuid.uuid4().hex}"
    outside_any_loop(administer(postgres, f"create database {name} template {template} strategy file_copy"))
    yield postgres.url(name)
    outside_any_loop(administer(postgres, f"drop database if exists {name} with (force)"))


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The engine that services write through, on this test's database."""
    created = create_write_engine(database_url)
    yield created
    await created.dispose()
