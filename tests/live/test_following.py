"""Following the log: every event once, in order, whatever dies and however slow the reader is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from uuid import uuid4

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.auth import Authenticator, guest
from app.live.live import Live, cancel
from db import cursors
from db.engine import asyncpg_dsn
from db.events import Relay
from domain.events import EventType
from tests.live.clients import Client, until
from tests.live.log import assert_sound, write_events, write_many
from tests.live.planner import Planner, execute


@contextlib.asynccontextmanager
async def recurring(act: Callable[[], Awaitable[object]], seconds: float) -> AsyncIterator[None]:
    """Meanwhile, do this again and again."""

    async def again() -> None:
        while True:
            await asyncio.sleep(seconds)
            await act()

    task = asyncio.create_task(again())
    try:
        yield
    finally:
        task.cancel()


async def terminate(database_url: str, applications: str) -> int:
    """Kill the connections of these applications, as a restart or a cut network would."""
    connection = await asyncpg.connect(asyncpg_dsn(database_url))
    try:
        killed = await connection.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name like $1 and datname = current_database() and pid <> pg_backend_pid()",
            applications,
        )
        return len(killed)
    finally:
        await connection.close()


async def test_a_subscriber_hears_of_an_event_within_a_moment_of_its_commit(
    served: str, live: Live, engine: AsyncEngine
) -> None:
    order_id = uuid4()
    async with Client.to(served) as client:
        await client.subscribe("1", f'subscription {{ orderEvents(orderId: "{order_id}") }}')
        await until(lambda: live.hub.subscribers)
        await write_events(engine, order_id, 0, EventType.ORDER_PLACED)
        live.poke()
        (event,) = await client.events("1", 1, within=0.5)
    assert (event["type"], event["version"], event["orderId"]) == ("ORDER_PLACED", 1, str(order_id))


async def test_events_of_other_orders_are_not_heard(served: str, live: Live, engine: AsyncEngine) -> None:
    async with Client.to(served) as client:
        await client.subscribe("1", f'subscription {{ orderEvents(orderId: "{uuid4()}") }}')
        await until(lambda: live.hub.subscribers)
        await write_events(engine, uuid4(), 0, EventType.ORDER_PLACED)
        live.poke()
        assert await client.silent()


async def test_a_guest_hears_of_its_own_order_and_only_what_customers_may_know(
    served: str, live: Live, engine: AsyncEngine
) -> None:
    mine, other = uuid4(), uuid4()
    async with Client.to(served, guest(mine)) as client:
        await client.subscribe("1", "subscription { orderEvents }")
        await client.subscribe("2", f'subscription {{ orderEvents(orderId: "{other}") }}')
        await until(lambda: len(live.hub.subscribers) == 2)
        await write_events(engine, other, 0, EventType.ORDER_PLACED)
        await write_events(
            engine, mine, 0, EventType.ORDER_HELD, EventType.ORDER_PLACED, EventType.ORDER_UPDATED
        )
        live.poke()
        (event,) = await client.events("1", 1)
        assert (event["orderId"], event["type"]) == (str(mine), "ORDER_PLACED")
        assert await client.silent()


async def test_a_cursor_goes_on_where_it_stands_and_then_live(
    served: str, live: Live, engine: AsyncEngine
) -> None:
    order_id = uuid4()
    await write_events(engine, order_id, 0, *[EventType.ORDER_UPDATED] * 5)
    live.poke()
    await until(lambda: live.hub.tail == 5)
    start = str(cursors.Cursor(live.hub.epoch, 0))
    async with Client.to(served) as client:
        await client.subscribe("1", f'subscription {{ orderEvents(after: "{start}") }}')
        seen = await client.events("1", 2)
    async with Client.to(served) as client:
        await client.subscribe("1", f'subscription {{ orderEvents(after: "{seen[-1]["cursor"]}") }}')
        seen += await client.events("1", 3)
        await write_events(engine, order_id, 5, EventType.ORDER_UPDATED)
        live.poke()
        seen += await client.events("1", 1)
        assert await client.silent(0.2)
    assert [event["version"] for event in seen] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("wrong", ["nonsense", "ahead", "foreign", "expired"])
async def test_a_cursor_that_leads_nowhere_is_an_error_with_a_code(
    served: str, live: Live, engine: AsyncEngine, wrong: str
) -> None:
    await write_events(engine, uuid4(), 0, *[EventType.ORDER_UPDATED] * 3)
    live.poke()
    await until(lambda: live.hub.tail == 3)
    if wrong == "expired":
        live.hub.horizon = 2
    cursor = {
        "nonsense": "nonsense",
        "ahead": str(cursors.Cursor(live.hub.epoch, 4)),
        "foreign": str(cursors.Cursor(uuid4(), 1)),
        "expired": str(cursors.Cursor(live.hub.epoch, 1)),
    }[wrong]
    async with Client.to(served) as client:
        await client.subscribe("1", f'subscription {{ orderEvents(after: "{cursor}") }}')
        message = await client.hear("1")
        assert message["type"] == "error"
        assert message["payload"][0]["extensions"]["code"] == "CURSOR_EXPIRED"
        await client.subscribe("1", "{ account }")
        assert (await client.hear("1"))["type"] == "next"


async def test_with_an_expired_cursor_of_one_order_comes_how_it_stands_and_where_to_go_on(
    served: str, live: Live, engine: AsyncEngine
) -> None:
    order_id = uuid4()
    await write_events(engine, order_id, 0, EventType.ORDER_PLACED, EventType.ORDER_HELD)
    await write_events(engine, uuid4(), 0, EventType.ORDER_PLACED)
    live.poke()
    await until(lambda: live.hub.tail == 3)
    foreign = cursors.Cursor(uuid4(), 1)
    async with Client.to(served) as staff, Client.to(served, guest(order_id)) as portal:
        shown = []
        for client in (staff, portal):
            query = f'subscription {{ orderEvents(orderId: "{order_id}", after: "{foreign}") }}'
            await client.subscribe("1", query)
            shown.append((await client.hear("1"))["payload"][0]["extensions"])
        for extensions, version in zip(shown, (2, 1), strict=True):
            assert extensions["code"] == "CURSOR_EXPIRED"
            assert extensions["snapshot"]["version"] == version
        await staff.subscribe("2", f'subscription {{ orderEvents(after: "{shown[0]["head"]}") }}')
        await write_events(engine, order_id, 2, EventType.ORDER_RELEASED)
        live.poke()
        assert [event["version"] for event in await staff.events("2", 1)] == [3]
        await staff.subscribe("3", f'subscription {{ orderEvents(after: "{foreign}") }}')
        assert "snapshot" not in (await staff.hear("3"))["payload"][0]["extensions"]


async def test_what_was_committed_before_a_subscription_comes_once_or_not_and_what_comes_after_comes_once(
    served: str, live: Live, engine: AsyncEngine
) -> None:
    order_id, version = uuid4(), 0
    for number in range(30):
        async with Client.to(served) as client:
            version = await write_events(engine, order_id, version, EventType.ORDER_UPDATED)
            before = version
            live.poke()
            await asyncio.sleep(number * 0.0007)  # the relay and the tailer are anywhere by then
            await client.subscribe("1", "subscription { orderEvents }")
            await until(lambda: live.hub.subscribers)
            version = await write_events(engine, order_id, version, *[EventType.ORDER_UPDATED] * 2)
            live.poke()
            seen = [event["version"] for event in await client.events("1", 2)]
            if seen[0] == before:
                seen += [event["version"] for event in await client.events("1", 1)]
            assert seen in ([version - 1, version], [version - 2, version - 1, version])
            assert await client.silent(0.02)
        await until(lambda: not live.hub.subscribers)


async def test_a_log_that_was_replaced_expires_every_subscription(
    served: str, live: Live, engine: AsyncEngine, database_url: str
) -> None:
    async with Client.to(served) as client:
        await client.subscribe("1", "subscription { orderEvents }")
        await until(lambda: live.hub.subscribers)
        async with engine.begin() as session:
            await session.execute(sa.update(Relay).values(epoch=uuid4()))
        await terminate(database_url, "oms-tail")
        message = await client.hear("1")
        assert message["payload"][0]["extensions"]["code"] == "CURSOR_EXPIRED"
        await client.subscribe("1", "subscription { orderEvents }")
        await until(lambda: live.hub.subscribers)
        await write_events(engine, uuid4(), 0, EventType.ORDER_PLACED)
        live.poke()
        await client.events("1", 1)


async def test_nothing_is_missed_or_repeated_while_every_connection_of_the_live_path_is_killed(
    served: str, live: Live, engine: AsyncEngine, database_url: str
) -> None:
    batch = 100
    killed = 0
    seen: tuple[list[str], list[str]] = ([], [])

    async def kill() -> None:
        nonlocal killed
        for name in ("oms-tail", "oms-wake", "oms-read", "oms-relay"):
            killed += await terminate(database_url, name)

    async def follow(client: Client, heard: list[str]) -> None:
        heard += [event["cursor"] for event in await client.events("1", batch, within=30)]

    async with Client.to(served) as first, Client.to(served) as second:
        await first.subscribe("1", "subscription { orderEvents }")
        await second.subscribe("1", "subscription { orderEvents }")
        await until(lambda: len(live.hub.subscribers) == 2)
        async with recurring(kill, 0.1):
            while killed < 8:  # however fast the machine writes
                writing = asyncio.create_task(write_many(engine, batch))
                await asyncio.gather(follow(first, seen[0]), follow(second, seen[1]))
                await writing
        assert await first.silent()
    count = len(seen[0])
    expected = [str(cursors.Cursor(live.hub.epoch, position)) for position in range(1, count + 1)]
    assert seen[0] == expected
    assert seen[1] == expected
    assert await assert_sound(engine) == count


async def test_a_client_that_reconnects_again_and_again_sees_every_event_once_in_order(
    served: str, live: Live, engine: AsyncEngine
) -> None:
    count = 300
    after = str(cursors.Cursor(live.hub.epoch, 0))
    seen: list[str] = []
    writing = asyncio.create_task(write_many(engine, count))
    poking = recurring(_poke(live), 0.01)
    async with poking:
        while len(seen) < count:
            async with Client.to(served) as client:
                await client.subscribe("1", f'subscription {{ orderEvents(after: "{after}") }}')
                take = min(37, count - len(seen))
                seen += [event["cursor"] for event in await client.events("1", take, within=20)]
                after = seen[-1]
                client.connection.transport.abort()
    await writing
    assert seen == [str(cursors.Cursor(live.hub.epoch, position)) for position in range(1, count + 1)]


def _poke(live: Live) -> Callable[[], Awaitable[object]]:
    async def poke() -> None:
        live.poke()

    return poke


async def test_a_slow_reader_overflows_goes_back_to_the_log_and_misses_nothing(
    served: str, live: Live, engine: AsyncEngine
) -> None:
    live.hub.bounds = replace(live.hub.bounds, queue_events=8)
    count = 3_000
    async with Client.to(served) as client:
        client.connection.transport.pause_reading()
        await client.subscribe("1", "subscription { orderEvents }")
        await until(lambda: live.hub.subscribers)
        order_id, version = uuid4(), 0
        for _ in range(30):
            version = await write_events(engine, order_id, version, *[EventType.ORDER_UPDATED] * 100)
            live.poke()
            await asyncio.sleep(0)
        await until(lambda: live.hub.tail == count, within=30)
        client.connection.transport.resume_reading()
        assert live.hub.overflows > 0
        seen = await client.events("1", count, within=30)
    assert [event["version"] for event in seen] == list(range(1, count + 1))


async def test_a_reader_that_takes_nothing_is_cut_off(served: str, live: Live, engine: AsyncEngine) -> None:
    live.hub.bounds = replace(live.hub.bounds, send_seconds=0.5)
    order_id, version = uuid4(), 0
    async with Client.to(served) as client:
        await client.subscribe("1", "subscription { orderEvents }")
        await until(lambda: live.hub.subscribers)
        client.connection.transport.pause_reading()
        overflows = live.hub.overflows
        for _ in range(60):
            version = await write_events(engine, order_id, version, *[EventType.ORDER_UPDATED] * 200)
            live.poke()
        await until(lambda: not live.hub.subscribers and not live.connections, within=20)
        assert live.hub.overflows > overflows
        client.connection.transport.abort()


async def test_subscribers_who_see_the_same_share_one_rendering(
    served: str, live: Live, engine: AsyncEngine, planner: Planner
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client.to(served)) for _ in range(10)]
        for client in clients:
            await client.subscribe("1", "subscription { orderEvents }")
        await until(lambda: len(live.hub.subscribers) == 10)
        await write_events(engine, uuid4(), 0, *[EventType.ORDER_UPDATED] * 20)
        live.poke()
        for client in clients:
            await client.events("1", 20)
    assert planner.renders == 1


async def test_the_status_of_an_order_comes_at_once_and_again_after_changes_together(
    served: str, live: Live, engine: AsyncEngine
) -> None:
    order_id = uuid4()
    version = await write_events(engine, order_id, 0, EventType.ORDER_PLACED)
    live.poke()
    await until(lambda: live.hub.tail == 1)
    async with Client.to(served) as client:
        await client.subscribe("1", f'subscription {{ orderStatus(orderId: "{order_id}") }}')
        assert await client.events("1", 1) == [{"version": 1}]
        await write_events(engine, order_id, version, *[EventType.ORDER_UPDATED] * 10)
        live.poke()
        assert await client.events("1", 1) == [{"version": 11}]
        assert await client.silent()


async def test_the_status_of_an_order_that_may_not_be_seen_is_not_found(
    served: str, live: Live, engine: AsyncEngine
) -> None:
    order_id = uuid4()
    await write_events(engine, order_id, 0, EventType.ORDER_PLACED)
    live.poke()
    await until(lambda: live.hub.tail == 1)
    async with Client.to(served, guest(uuid4())) as client:
        await client.subscribe("1", f'subscription {{ orderStatus(orderId: "{order_id}") }}')
        message = await client.hear("1")
        assert message["payload"][0]["extensions"]["code"] == "NOT_FOUND"


async def test_an_event_that_cannot_be_rendered_is_a_masked_error_and_those_after_it_come(
    served: str, live: Live, engine: AsyncEngine
) -> None:
    async with Client.to(served) as client:
        await client.subscribe("1", "subscription { brokenEvents }")
        await until(lambda: live.hub.subscribers)
        await write_events(
            engine, uuid4(), 0, EventType.ORDER_PLACED, EventType.ORDER_UPDATED, EventType.ORDER_CONFIRMED
        )
        live.poke()
        payloads = [(await client.hear("1"))["payload"] for _ in range(3)]
    assert payloads[0]["data"]["brokenEvents"]["version"] == 1
    assert payloads[1]["data"] is None
    assert payloads[1]["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert "cannot be rendered" not in str(payloads)
    assert payloads[2]["data"]["brokenEvents"]["version"] == 3


async def test_a_hole_in_the_log_is_waited_for_and_never_skipped(
    served: str, live: Live, engine: AsyncEngine
) -> None:
    order_id = uuid4()
    await write_events(engine, order_id, 0, *[EventType.ORDER_UPDATED] * 3)
    live.poke()
    await until(lambda: live.hub.tail == 3)
    async with Client.to(served) as client:
        await client.subscribe("1", "subscription { orderEvents }")
        await until(lambda: live.hub.subscribers)
        async with engine.begin() as session:
            await session.execute(sa.text("set local session_replication_role = replica"))
            await session.execute(
                sa.text(
                    "insert into event_log select (jsonb_populate_record(event_log, jsonb_build_object("
                    "'position', 5, 'version', 5))).* from event_log where position = 3"
                )
            )
        assert await client.silent()
        async with engine.begin() as session:
            await session.execute(
                sa.text(
                    "insert into event_log select (jsonb_populate_record(event_log, jsonb_build_object("
                    "'position', 4, 'version', 4))).* from event_log where position = 3"
                )
            )
        assert [event["version"] for event in await client.events("1", 2)] == [4, 5]


async def test_another_process_takes_over_the_relay_and_wakes_this_one(
    served: str, live: Live, engine: AsyncEngine, database_url: str, authenticator: Authenticator
) -> None:
    other = Live(database_url, None, planner=Planner(), authenticator=authenticator, execute=execute)
    await other.start()
    await cancel(live._tasks[2:])
    try:
        async with Client.to(served) as client:
            await client.subscribe("1", "subscription { orderEvents }")
            await until(lambda: live.hub.subscribers)
            await write_events(engine, uuid4(), 0, EventType.ORDER_PLACED)
            assert len(await client.events("1", 1, within=1)) == 1
    finally:
        await other.stop()
