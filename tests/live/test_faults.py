"""Served processes, every transport, every fault: each subscriber's stream is the log, whatever was killed.

`OMS_TEST_FOLLOWERS=100` is the full version; the default is a shorter one. Without `redis-server` PostgreSQL is the
broker and Redis's own fault is left out.
"""

# ruff: noqa: S311 - when somebody pauses or leaves is no secret

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import httpx2
import orjson
import pytest
from websockets.asyncio.client import connect

from app.postgres import EmbeddedPostgres
from bench.ports import free_port
from db import cursors
from db.engine import Engine, asyncpg_dsn, create_write_engine
from domain.events import EventType
from domain.ids import format_id
from tests.live.clients import SECRET, Client, token
from tests.live.log import assert_sound, write_events
from tests.live.test_chaos import DATABASE_LOST, LOST, restart_postgres, restartable  # noqa: F401 - a fixture
from tests.live.test_multipart import parts
from tests.live.test_redis import Redis
from tests.live.test_sse import stream

pytestmark = pytest.mark.slow

FOLLOWERS = int(os.environ.get("OMS_TEST_FOLLOWERS", "24"))
ORDERS = 6
PAUSE = 1.0
"""Seconds between faults: what was hit comes back, and is hit again before all is quiet."""

AWAY = (*LOST, StopAsyncIteration, orjson.JSONDecodeError)
SELECTION = "cursor version"
HEAVY = SELECTION + "".join(f" {'c' * 99}{number}: cursor" for number in range(45))
"""What slow readers ask for, so that megabytes wait for them."""


class Served:
    """One `oms serve`."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._environment = {**os.environ, **environment}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        command = [str(Path(sys.executable).with_name("oms")), "serve", "--port", str(self.port)]
        with self._log.open("ab") as output:
            self._process = await asyncio.to_thread(
                subprocess.Popen, command, env=self._environment, stdout=output, stderr=output
            )
        async with asyncio.timeout(60), httpx2.AsyncClient() as client:
            while True:
                with contextlib.suppress(httpx2.HTTPError):
                    if (await client.get(f"http://{self.address}/readyz")).status_code == 200:
                        return
                assert self._process.poll() is None, self._log.read_text()[-3000:]
                await asyncio.sleep(0.1)

    async def end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            await asyncio.wait_for(asyncio.to_thread(self._process.wait), 40)
            self._process = None

    async def figures(self) -> dict[str, float]:
        """The counters of `/metrics`; nothing while the process is away."""
        with contextlib.suppress(httpx2.HTTPError):
            async with httpx2.AsyncClient(timeout=5) as client:
                text = (await client.get(f"http://{self.address}/metrics")).text
                found = re.findall(
                    r"^(oms_live_(?:queue_overflows|evictions)_total) (\S+)$", text, re.MULTILINE
                )
                return {name: float(value) for name, value in found}
        return {}


@dataclass
class Follower:
    """A subscriber of everything, or of one order, that comes back with its last cursor."""

    number: int
    start: str
    order_id: UUID | None
    seen: list[str] = field(default_factory=list)
    connections: int = 0
    hurried: bool = False
    """Slow readers are no longer slow once nothing is written."""

    @property
    def query(self) -> str:
        # Multipart keeps no cursor outside of the operation, so all of them name it there.
        after = self.seen[-1] if self.seen else self.start
        order = "" if self.order_id is None else f'orderId: "{format_id("ord", self.order_id)}", '
        selection = HEAVY if self.slow else SELECTION
        return f'subscription {{ orderEvents({order}after: "{after}") {{ {selection} }} }}'

    @property
    def slow(self) -> bool:
        return self.number % 8 == 3

    async def follow(self, servers: list[Served], over: asyncio.Event) -> None:
        transport = (self.by_websocket, self.by_events, self.by_multipart)[self.number % 3]
        while not over.is_set():
            self.connections += 1
            server = servers[(self.number + self.connections) % len(servers)]
            with contextlib.suppress(*AWAY):
                await (self.slowly if self.slow else transport)(server.address)
            await asyncio.sleep(random.uniform(0.02, 0.2))

    async def by_websocket(self, address: str) -> None:
        async with Client.to(address) as client:
            await client.subscribe("1", self.query)
            leaving = random.randrange(200, 2_000) if self.number % 2 else sys.maxsize
            for _ in range(leaving):  # some leave again and again without a word
                self.seen += [event["cursor"] for event in await client.events("1", 1, within=3)]
            client.connection.transport.abort()

    async def by_events(self, address: str) -> None:
        async with stream(address, self.query) as events:
            while event := await events.next(within=3):
                if event["event"] != "next":
                    return
                self.seen.append(orjson.loads(event["data"])["data"]["orderEvents"]["cursor"])

    async def by_multipart(self, address: str) -> None:
        async with parts(address, self.query) as following:
            while (part := await following.next(within=3)) is not None:
                if part:
                    self.seen.append(part["payload"]["data"]["orderEvents"]["cursor"])

    async def slowly(self, address: str) -> None:
        """Take nothing for a while, out of a small buffer; then all that is there."""
        host, port = address.split(":")
        with socket.socket() as small:
            small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            small.setblocking(False)
            await asyncio.get_running_loop().sock_connect(small, (host, int(port)))
            await self._take_slowly(address, small.dup())

    async def _take_slowly(self, address: str, small: socket.socket) -> None:
        async with connect(
            f"ws://{address}/graphql",
            sock=small,
            subprotocols=["graphql-transport-ws"],  # type: ignore[list-item] # a new type of its own
            compression=None,
        ) as connection:
            client = Client(connection)
            await client.init({"token": token()})
            await client.subscribe("1", self.query)
            while True:
                if not self.hurried:
                    client.connection.transport.pause_reading()
                    await asyncio.sleep(random.choice((0.5, 1.5, 6.0)))
                    client.connection.transport.resume_reading()
                for _ in range(random.randrange(50, 400)):
                    self.seen += [event["cursor"] for event in await client.events("1", 1, within=3)]


async def write_until(engine: Engine, order_id: UUID, over: asyncio.Event) -> None:
    """Events of one order; what became of a commit whose answer was lost is looked up."""
    version = 0
    while not over.is_set():
        try:
            if version < 0:
                async with engine.begin() as session:
                    driver = await session.driver()
                    sql = "select coalesce(max(version), 0) from event where order_id = $1"
                    version = await driver.fetchval(sql, order_id)
            version = await write_events(
                engine, order_id, version, *[EventType.ORDER_UPDATED] * random.randint(1, 8)
            )
            await asyncio.sleep(random.uniform(0, 0.25))
        except DATABASE_LOST:
            version = -1
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def cluster(url: str, redis: Redis | None, directory: Path) -> AsyncIterator[list[Served]]:
    environment = {
        "OMS_DATABASE_URL": url,
        "OMS_DEVELOPMENT_SECRET": SECRET,
        "OMS_LOG_FORMAT": "json",
        "OMS_POOL_SIZE": "3",
        "OMS_LIVE_QUEUE_EVENTS": "16",
        "OMS_LIVE_SEND_SECONDS": "2",
        "OMS_LIVE_DRAIN_SECONDS": "0.5",
        "OMS_LIVE_REPLAY_EVENTS": "50",
        **({} if redis is None else {"OMS_BROADCAST_URL": redis.url}),
    }
    servers = [Served(environment, directory / f"server-{number}.log") for number in range(2)]
    try:
        for server in servers:
            await server.start()
        yield servers
    finally:
        for server in servers:
            await server.end(signal.SIGKILL)


async def terminate(postgres: EmbeddedPostgres, application: str) -> None:
    connection = await asyncpg.connect(asyncpg_dsn(postgres.url()))
    await connection.fetch(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name like $1", application
    )
    await connection.close()


def faults_of(
    postgres: EmbeddedPostgres, servers: list[Served], redis: Redis | None
) -> list[Callable[[], Awaitable[None]]]:
    """Every fault, one after the other; each leaves everything running."""

    async def kill_and_restart() -> None:
        await servers[0].end(signal.SIGKILL)
        await asyncio.sleep(0.3)
        await servers[0].start()

    async def drain_and_restart() -> None:
        await servers[1].end(signal.SIGTERM)
        await servers[1].start()

    async def lose_redis() -> None:
        if redis is not None:
            redis.stop()
            await asyncio.sleep(3)
            redis.start()

    return [
        kill_and_restart,
        lambda: terminate(postgres, "oms-relay"),
        lambda: terminate(postgres, "oms-wake"),
        lambda: terminate(postgres, "oms-tail"),
        lambda: restart_postgres(postgres),
        lose_redis,
        drain_and_restart,
        lambda: terminate(postgres, "oms-%"),
    ]


def broker(directory: Path) -> Redis | None:
    program = shutil.which("redis-server")
    if program is None or importlib.util.find_spec("redis") is None:
        return None
    return Redis(program, directory)


async def test_every_stream_is_the_log_under_every_fault(
    restartable: EmbeddedPostgres,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    redis = broker(tmp_path)
    if redis is not None:
        redis.start()
    url = restartable.url()
    engine = create_write_engine(url)
    connection = await asyncpg.connect(asyncpg_dsn(url))
    epoch = await connection.fetchval("select epoch from relay")
    await connection.close()
    orders = [uuid4() for _ in range(ORDERS)]
    start = str(cursors.Cursor(epoch, 0))
    followers = [
        Follower(number, start, orders[number % ORDERS] if number % 4 == 1 else None)
        for number in range(FOLLOWERS)
    ]
    written, over = asyncio.Event(), asyncio.Event()
    worst: dict[str, float] = {}
    try:
        async with (
            cluster(url, redis, tmp_path) as servers,
            asyncio.timeout(300),
            asyncio.TaskGroup() as tasks,
        ):

            async def watch() -> None:
                while not over.is_set():
                    for server in servers:
                        for name, value in (await server.figures()).items():
                            worst[name] = max(worst.get(name, 0), value)
                    await asyncio.sleep(0.5)

            watching = tasks.create_task(watch())
            following = [tasks.create_task(follower.follow(servers, over)) for follower in followers]
            writing = [tasks.create_task(write_until(engine, order_id, written)) for order_id in orders]
            for fault in faults_of(restartable, servers, redis):
                await asyncio.sleep(PAUSE)
                await fault()
            await asyncio.sleep(PAUSE)
            written.set()
            for follower in followers:
                follower.hurried = True
            await asyncio.wait(writing)
            log = await the_log(url)
            expected = [
                [cursor for cursor, order_id in log if follower.order_id in (None, order_id)]
                for follower in followers
            ]
            while any(  # noqa: ASYNC110 - followers tell nobody
                len(follower.seen) < len(wanted) for follower, wanted in zip(followers, expected, strict=True)
            ):
                await asyncio.sleep(0.2)
            await asyncio.sleep(0.5)  # what comes too often would come now
            over.set()
            for task in (*following, watching):
                task.cancel()
    finally:
        if redis is not None:
            redis.stop()
        await engine.dispose()
    for follower, wanted in zip(followers, expected, strict=True):
        assert follower.seen == wanted, f"follower {follower.number}"
    assert worst["oms_live_queue_overflows_total"] > 0
    assert min(follower.connections for follower in followers) > 1
    print(f"{len(log):,} events, {sum(len(each.seen) for each in followers):,} deliveries, {worst}")  # noqa: T201 - shown by -s


async def the_log(url: str) -> list[tuple[str, UUID]]:
    """Every event by its cursor and order, once the relay has moved all that was committed; sound."""
    engine = create_write_engine(url)
    connection = await asyncpg.connect(asyncpg_dsn(url))
    try:
        async with asyncio.timeout(30):
            while await connection.fetchval("select exists(select from outbox)"):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        await assert_sound(engine)
        epoch = await connection.fetchval("select epoch from relay")
        rows = await connection.fetch("select position, order_id from event_log order by position")
        return [(str(cursors.Cursor(epoch, row["position"])), row["order_id"]) for row in rows]
    finally:
        await connection.close()
        await engine.dispose()
