"""A real Redis as the broker: stopped and started under subscribers, it costs time and nothing else.

Skipped where there is no `redis-server` or the extra `redis` is not installed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.auth import Authenticator
from app.live.live import Live, cancel
from app.live.wake import WakeUps
from bench.ports import free_port
from db import cursors
from domain.events import EventType
from tests.live.clients import Client, until
from tests.live.conftest import serving
from tests.live.log import write_events
from tests.live.planner import Planner, execute
from tests.live.test_wake import Counter, listening

UPDATED = EventType.ORDER_UPDATED


class Redis:
    """A server of its own, that holds nothing."""

    def __init__(self, program: str, directory: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = directory
        self._command = [
            program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._directory / "log").open("ab") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output)

    def stop(self) -> None:
        """As when it is killed: nobody is told."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not here")
    if importlib.util.find_spec("redis") is None:
        pytest.skip("the extra redis is not installed")
    server = Redis(program, tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def processes(
    redis: Redis, database_url: str, authenticator: Authenticator
) -> AsyncIterator[tuple[Live, Live]]:
    """Two of one service: the first follows, the second alone relays."""
    made = [
        Live(database_url, redis.url, planner=Planner(), authenticator=authenticator, execute=execute)
        for _ in range(2)
    ]
    await made[0].start(relay=False)
    await made[1].start()
    for live in made:
        await asyncio.wait_for(live.wake_ups.connected.wait(), 10)
    yield made[0], made[1]
    for live in made:
        await live.stop()


async def test_processes_wake_each_other_through_redis(redis: Redis) -> None:
    woken = Counter()
    async with listening(redis.url, Counter(), woken) as processes:
        before = woken.count
        processes[0].announce()
        await until(lambda: woken.count > before)


async def test_with_redis_stopped_events_come_with_the_poll_and_wake_ups_come_back_with_it(
    redis: Redis,
    processes: tuple[Live, Live],
    authenticator: Authenticator,
    engine: AsyncEngine,
) -> None:
    following, _ = processes
    order_id, version = uuid4(), 0
    async with serving(following, authenticator) as address, Client.to(address) as client:
        await client.subscribe("1", "subscription { orderEvents }")
        await until(lambda: following.hub.subscribers)
        seen: list[str] = []

        async def written_and_heard() -> None:
            nonlocal version
            version = await write_events(engine, order_id, version, UPDATED)
            seen.extend(event["cursor"] for event in await client.events("1", 1, within=2))

        await written_and_heard()
        for _ in range(2):
            redis.stop()
            await until(lambda: not following.wake_ups.connected.is_set())
            for _ in range(3):
                await written_and_heard()
            redis.start()
            await until(following.wake_ups.connected.is_set, within=20)
            await written_and_heard()
        assert await client.silent(0.1)
    assert seen == [str(cursors.Cursor(following.hub.epoch, place)) for place in range(1, version + 1)]


async def test_a_broker_that_comes_and_goes_leaves_nothing_behind(redis: Redis) -> None:
    process = WakeUps(redis.url, Counter())
    task = asyncio.create_task(process.run())
    await asyncio.wait_for(process.connected.wait(), 10)
    tasks = len(asyncio.all_tasks())
    for _ in range(3):
        redis.stop()
        await until(lambda: not process.connected.is_set())
        redis.start()
        await until(process.connected.is_set, within=20)
    assert len(asyncio.all_tasks()) <= tasks
    await cancel([task])


async def test_a_redis_that_answers_nothing_any_more_is_noticed(
    redis: Redis, processes: tuple[Live, Live], engine: AsyncEngine
) -> None:
    following, _ = processes
    assert redis._process is not None
    redis._process.send_signal(19)  # SIGSTOP: connections stay open and nothing comes
    await until(lambda: not following.wake_ups.connected.is_set(), within=15)
    tail = following.hub.tail
    await write_events(engine, uuid4(), 0, UPDATED)
    await until(lambda: following.hub.tail == tail + 1, within=2)
    redis._process.send_signal(18)
    await until(following.wake_ups.connected.is_set, within=20)
