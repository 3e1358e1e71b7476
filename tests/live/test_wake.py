"""Wake-ups: lost, late or never, they cost time and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.auth import Authenticator
from app.live import wake
from app.live.live import Live, cancel
from app.live.wake import WakeUps, checked
from db.engine import asyncpg_dsn
from domain.events import EventType
from tests.live.clients import Client, until
from tests.live.log import write_events
from tests.live.planner import Planner, execute


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@contextlib.asynccontextmanager
async def listening(url: str, *counters: Counter) -> AsyncIterator[list[WakeUps]]:
    """A process for each of these, connected."""
    processes = [WakeUps(url, counter) for counter in counters]
    tasks = [asyncio.create_task(process.run()) for process in processes]
    for process in processes:
        await asyncio.wait_for(process.connected.wait(), 5)
    yield processes
    await cancel(tasks)


async def test_processes_wake_each_other_through_postgresql_and_not_themselves(database_url: str) -> None:
    first, second = Counter(), Counter()
    async with listening(database_url, first, second) as processes:
        before = first.count, second.count
        processes[0].announce()
        await until(lambda: second.count > before[1])
        assert first.count == before[0]
        processes[1].announce()
        await until(lambda: first.count > before[0])


async def test_many_announcements_at_once_become_few(database_url: str) -> None:
    woken = Counter()
    async with listening(database_url, Counter(), woken) as processes:
        before = woken.count
        for _ in range(1000):
            processes[0].announce()
        await until(lambda: woken.count > before)
        await asyncio.sleep(0.1)
        assert woken.count - before <= 3


async def test_a_process_that_is_alone_announces_nothing_and_speaks_up_when_another_comes(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake, "BEAT_SECONDS", 3)
    monkeypatch.setattr(wake, "ALONE_SECONDS", 0.5)
    said: list[str] = []

    class Noting(wake.Broadcast):
        async def publish(self, channel: str, message: Any) -> None:
            said.append(message)
            await super().publish(channel, message)

    monkeypatch.setattr(wake, "Broadcast", Noting)
    woken = Counter()
    async with listening(database_url, Counter()) as (alone,):
        await until(lambda: not alone.in_company)
        alone.announce()
        await asyncio.sleep(0.1)
        assert [message.partition(" ")[0] for message in said] == [wake.BEAT]
        async with listening(database_url, woken) as (newcomer,):
            await until(lambda: alone.in_company, within=1)  # no beat was due
            before = woken.count
            alone.announce()
            await until(lambda: woken.count > before, within=1)
            assert newcomer.in_company
        await until(lambda: not alone.in_company, within=1)


async def test_a_killed_listening_connection_is_replaced_and_what_it_missed_is_looked_for(
    database_url: str,
) -> None:
    woken = Counter()
    async with listening(database_url, woken, Counter()) as processes:
        connection = await asyncpg.connect(asyncpg_dsn(database_url))
        before = woken.count
        assert await connection.fetchval(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity "
            "where application_name = 'oms-wake' and datname = current_database()"
        )
        await until(lambda: woken.count > before)
        for process in processes:
            await until(process.connected.is_set)
        heard = woken.count
        processes[1].announce()
        await until(lambda: woken.count > heard)
        await connection.close()


async def test_a_broker_that_hangs_silently_is_noticed_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake, "SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(wake, "BEAT_SECONDS", 0.05)
    made: list[Any] = []

    class Silent(wake.Broadcast):
        def __init__(self, url: str) -> None:
            super().__init__(url)
            made.append(self)

        async def publish(self, channel: str, message: Any) -> None:
            if len(made) > 1:
                await super().publish(channel, message)

    monkeypatch.setattr(wake, "Broadcast", Silent)
    woken = Counter()
    task = asyncio.create_task(WakeUps("memory://", woken).run())
    await until(lambda: len(made) == 2)
    before = woken.count
    await until(lambda: woken.count >= before)
    await cancel([task])


async def test_with_the_broker_gone_events_come_with_the_next_poll(
    database_url: str, engine: AsyncEngine, authenticator: Authenticator
) -> None:
    live = Live(
        database_url,
        "postgresql://nobody@127.0.0.1:1/none",
        planner=Planner(),
        authenticator=authenticator,
        execute=execute,
    )
    other = Live(database_url, "memory://", planner=Planner(), authenticator=authenticator, execute=execute)
    await live.start(relay=False)
    await other.start()
    await write_events(engine, uuid4(), 0, EventType.ORDER_PLACED)
    await until(lambda: live.hub.tail == 1, within=1)
    assert not live.wake_ups.connected.is_set()
    await live.stop()
    await other.stop()


async def test_a_subscriber_is_served_while_the_broker_is_down(
    served: str, live: Live, engine: AsyncEngine
) -> None:
    await cancel(live._tasks[1:2])
    async with Client.to(served) as client:
        await client.subscribe("1", "subscription { orderEvents }")
        await until(lambda: live.hub.subscribers)
        await write_events(engine, uuid4(), 0, EventType.ORDER_PLACED)
        await client.events("1", 1, within=1)


@pytest.mark.parametrize(
    "url", ["kafka://localhost:9092", "redis-stream://localhost", "amqp://localhost", "nonsense"]
)
def test_a_broker_that_cannot_serve_is_refused_with_what_to_write_instead(url: str) -> None:
    with pytest.raises(ValueError, match=r"write memory://, postgresql://… or redis://… instead\.$"):
        checked(url)


def test_redis_needs_a_release_that_delivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake.importlib.metadata, "version", lambda name: "8.0.1")
    with pytest.raises(ValueError, match=r"8\.0\.1 delivers nothing"):
        checked("redis://localhost")
    monkeypatch.setattr(wake.importlib.metadata, "version", lambda name: "7.4.0")
    assert checked("redis://localhost") == "redis://localhost"
