"""Subscribers over both transports while everything between a commit and their screen is killed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import httpx2
import orjson
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from websockets.exceptions import WebSocketException

from app.auth import Authenticator
from app.live.live import Live
from app.postgres import EmbeddedPostgres
from db import cursors, migrate
from db.engine import asyncpg_dsn, create_write_engine
from db.events import event
from domain.events import EventType
from tests.live.clients import SECRET, Client
from tests.live.conftest import serving
from tests.live.log import assert_sound, write_events
from tests.live.planner import Planner, execute
from tests.live.test_sse import stream

DATABASE_LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What a connection that is killed while it is made may raise, past SQLAlchemy."""

FOLLOWERS = 20
EVENTS = 600
LOST = (OSError, WebSocketException, httpx2.HTTPError, TimeoutError, AssertionError)
"""What a client sees when a fault hits it; it comes again with its last cursor."""


@pytest.fixture
def restartable() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of this test's own, for it to stop."""
    directory = Path(tempfile.mkdtemp(prefix="oms-chaos-"))
    directory.chmod(0o755)
    postgres = EmbeddedPostgres(directory)
    try:
        postgres.start()
        migrate.upgrade(postgres.url())
        yield postgres
    finally:
        postgres.stop()
        shutil.rmtree(directory, ignore_errors=True)


class Service:
    """A server process that can be stopped at any moment and started again elsewhere."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stack = contextlib.AsyncExitStack()
        self.address = ""
        self.live: Live | None = None

    async def start(self) -> None:
        authenticator = Authenticator(SECRET)
        live = Live(self._url, None, planner=Planner(), authenticator=authenticator, execute=execute)
        await live.start()
        self._stack.push_async_callback(live.stop)
        self.address = await self._stack.enter_async_context(serving(live, authenticator))
        self.live = live

    async def stop(self) -> None:
        if self.live is not None:
            await self.live.drain(0.1)
        await self._stack.aclose()


@contextlib.asynccontextmanager
async def running(service: Service) -> AsyncIterator[Service]:
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


async def follow_by_websocket(service: Service, seen: list[str], count: int) -> None:
    while len(seen) < count:
        with contextlib.suppress(*LOST):
            async with Client.to(service.address) as client:
                await client.subscribe("1", f'subscription {{ orderEvents(after: "{seen[-1]}") }}')
                while len(seen) < count:
                    seen += [found["cursor"] for found in await client.events("1", 1, within=3)]
        await asyncio.sleep(0.02)


async def follow_by_events(service: Service, seen: list[str], count: int) -> None:
    while len(seen) < count:
        with contextlib.suppress(*LOST):
            query = "subscription { orderEvents }"
            async with stream(service.address, query, last_event_id=seen[-1]) as events:
                while len(seen) < count:
                    found = await events.next(within=3)
                    seen.append(
                        orjson.loads(found["data"])["data"]["orderEvents"]["cursor"] if found else seen[-1]
                    )
                    if not found:
                        seen.pop()
                        break
        await asyncio.sleep(0.02)


async def write(engine: AsyncEngine, order_id: UUID, count: int) -> None:
    """`count` events of one order; what became of a commit whose answer was lost is looked up."""
    version = 0
    while version < count:
        try:
            if version < 0:
                async with engine.connect() as session:
                    newest = sa.select(sa.func.max(event.c.version)).where(event.c.order_id == order_id)
                    version = (await session.execute(newest)).scalar_one() or 0
                    continue
            version = await write_events(engine, order_id, version, EventType.ORDER_UPDATED)
            await asyncio.sleep(0.01)
        except DATABASE_LOST:
            version = -1
            await asyncio.sleep(0.05)


async def terminate_everybody(postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(asyncpg_dsn(postgres.url()))
    await connection.fetch(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where pid <> pg_backend_pid() and backend_type = 'client backend'"
    )
    await connection.close()


async def restart_postgres(postgres: EmbeddedPostgres) -> None:
    await asyncio.to_thread(postgres.stop)
    await asyncio.sleep(0.3)
    await asyncio.to_thread(postgres.start)


async def test_every_subscribers_stream_is_the_log_whatever_was_killed(restartable: EmbeddedPostgres) -> None:
    url = restartable.url()
    engine = create_write_engine(url)
    async with running(Service(url)) as service, running(Service(url)) as other:
        assert service.live is not None
        epoch = service.live.hub.epoch
        start = str(cursors.Cursor(epoch, 0))
        streams = [[start] for _ in range(FOLLOWERS)]
        orders = [uuid4() for _ in range(6)]
        async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
            for number, seen in enumerate(streams):
                follow = follow_by_websocket if number % 2 else follow_by_events
                tasks.create_task(follow(service if number % 3 else other, seen, EVENTS + 1))
            for order_id in orders:
                tasks.create_task(write(engine, order_id, EVENTS // len(orders)))
            await asyncio.sleep(0.4)
            await terminate_everybody(restartable)
            await asyncio.sleep(0.4)
            await service.stop()
            await asyncio.sleep(0.2)
            await service.start()
            await asyncio.sleep(0.4)
            await restart_postgres(restartable)
            await asyncio.sleep(0.4)
            await terminate_everybody(restartable)
    await engine.dispose()
    engine = create_write_engine(url)
    assert await assert_sound(engine) == EVENTS
    await engine.dispose()
    expected = [str(cursors.Cursor(epoch, position)) for position in range(EVENTS + 1)]
    for seen in streams:
        assert seen == expected
