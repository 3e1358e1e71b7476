"""The relay gives every committed event one position, whoever else tries and whoever is killed."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from uuid import uuid4

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.live.relay import Relay as RelayLoop
from db import cursors
from db.engine import asyncpg_dsn, create_write_engine
from db.events import EventLog, Outbox, Relay
from domain.events import EventType
from services import feed
from services.relay import move
from tests.live.clients import until
from tests.live.log import assert_sound, move_all, write_events, write_many

LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What a session raises whose backend was killed."""


async def test_positions_are_dense_and_follow_the_order_of_commits_of_an_aggregate(
    engine: AsyncEngine,
) -> None:
    order_id = uuid4()
    version = await write_events(engine, order_id, 0, EventType.ORDER_PLACED, EventType.ORDER_CONFIRMED)
    await write_events(engine, order_id, version, EventType.ORDER_COMPLETED)
    assert await move_all(engine, limit=2) == 3
    async with engine.connect() as session:
        read = await feed.read_after(session, 0, 10)
        assert (await session.execute(sa.select(sa.func.count()).select_from(Outbox))).scalar_one() == 0
    assert [(event.position, event.version, event.type) for event in read] == [
        (1, 1, EventType.ORDER_PLACED),
        (2, 2, EventType.ORDER_CONFIRMED),
        (3, 3, EventType.ORDER_COMPLETED),
    ]
    assert await assert_sound(engine) == 3


async def test_nothing_to_move_moves_nothing(engine: AsyncEngine) -> None:
    async with engine.begin() as session:
        assert await move(session) == 0
    assert await assert_sound(engine) == 0


async def test_a_second_relay_does_not_wait_for_the_first(engine: AsyncEngine) -> None:
    await write_events(engine, uuid4(), 0, EventType.ORDER_PLACED)
    async with engine.begin() as first, engine.begin() as second:
        assert await move(first) == 1
        assert await move(second) == 0
    assert await assert_sound(engine) == 1


async def test_a_relay_that_dies_before_its_commit_has_moved_nothing(engine: AsyncEngine) -> None:
    await write_events(engine, uuid4(), 0, EventType.ORDER_PLACED)
    async with engine.connect() as session:
        assert await move(session) == 1
        await session.rollback()
    assert await assert_sound(engine) == 0
    assert await move_all(engine) == 1
    assert await assert_sound(engine) == 1


async def test_racing_relays_move_every_row_exactly_once_while_their_backends_are_killed(
    engine: AsyncEngine, database_url: str
) -> None:
    relays = create_write_engine(database_url)  # nobody else is given a connection that is being killed
    writers_done = asyncio.Event()
    killed = 0
    count = 0

    async def relay() -> None:
        while True:
            finished = writers_done.is_set()
            try:
                async with relays.begin() as session:
                    moved = await move(session, limit=7)
            except LOST:  # killed; asserted below by what is in the log
                continue
            if not moved and finished:
                return
            await asyncio.sleep(0)

    async def killer() -> None:
        """Kills whichever backend holds the relay's row, as a crash of its process would."""
        nonlocal killed
        while not writers_done.is_set():
            await asyncio.sleep(0.03)
            async with engine.begin() as session:
                found = await session.execute(
                    sa.text(
                        "select pg_terminate_backend(pid) from pg_locks "
                        "where relation = 'event_log'::regclass and mode = 'RowExclusiveLock' "
                        "and pid <> pg_backend_pid()"
                    )
                )
                killed += len(found.all())

    async def write() -> None:
        nonlocal count
        while killed < 3:  # however fast the machine writes
            await write_many(engine, 400)
            count += 400
        writers_done.set()

    async def keeper() -> None:
        """Changes the relay's row between the moves, as retention does when it raises the horizon."""
        while not writers_done.is_set():
            await asyncio.sleep(0)
            async with engine.begin() as session:
                await session.execute(sa.update(Relay).values(horizon=Relay.horizon))

    await asyncio.wait_for(asyncio.gather(relay(), relay(), killer(), keeper(), write()), 60)
    await relays.dispose()
    await move_all(engine)  # both may have ended because the keeper had the row
    assert await assert_sound(engine) == count
    async with engine.connect() as session:
        assert (await session.execute(sa.select(sa.func.count()).select_from(Outbox))).scalar_one() == 0


class Looks:
    """A connection that counts how often its prepared statement is run."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection
        self.count = 0

    async def prepare(self, sql: str) -> Looks:
        self._move = await self._connection.prepare(sql)
        return self

    async def fetch(self, limit: int) -> list[asyncpg.Record]:
        self.count += 1
        return await self._move.fetch(limit)


async def test_between_the_commits_of_its_own_process_the_loop_looks_seldom(
    engine: AsyncEngine, database_url: str
) -> None:
    moved: list[asyncpg.Record] = []
    loop = RelayLoop(database_url, moved.extend)
    connection = await asyncpg.connect(asyncpg_dsn(database_url))
    looks = Looks(connection)
    running = asyncio.create_task(loop._run(cast("asyncpg.Connection[Any]", looks)))
    try:
        for number in range(1, 11):
            await write_events(engine, uuid4(), 0, EventType.ORDER_PLACED)
            loop.poke()
            await until(lambda number=number: len(moved) == number)
            await asyncio.sleep(0.05)
        assert looks.count <= 30  # each 3 ms would be some 200
        await write_events(engine, uuid4(), 0, EventType.ORDER_PLACED)  # by others: nobody asks
        await until(lambda: len(moved) == 11)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await connection.close()


async def test_sql_and_python_make_the_same_cursor(engine: AsyncEngine) -> None:
    await write_events(engine, uuid4(), 0, EventType.ORDER_PLACED)
    await move_all(engine)
    log = EventLog.__table__
    async with engine.connect() as session:
        written = (await session.execute(sa.select(cursors.cursor_of(log.c.position)))).scalar_one()
        head = (await session.execute(sa.select(cursors.head()))).scalar_one()
        state = await feed.read_head(session)
    assert written == head == str(cursors.Cursor(state.epoch, 1))
    assert cursors.parse(written) == cursors.Cursor(state.epoch, 1)
    for wrong in ("", "abc", written[:-1], written + "A", "!" * 32, "é" * 32):
        assert cursors.parse(wrong) is None


async def test_a_selection_means_the_same_in_sql_and_in_python(engine: AsyncEngine) -> None:
    orders = [uuid4() for _ in range(3)]
    customer = uuid4()
    for number, order_id in enumerate(orders):
        await write_events(
            engine,
            order_id,
            0,
            EventType.ORDER_PLACED,
            EventType.ORDER_CONFIRMED,
            customer_id=customer if number else None,
        )
    await move_all(engine)
    selections = [
        feed.Selection(),
        feed.Selection(orders=frozenset(orders[:2])),
        feed.Selection(orders=frozenset()),
        feed.Selection(types=frozenset({EventType.ORDER_CONFIRMED})),
        feed.Selection(customers=frozenset({customer}), types=frozenset({"ORDER_PLACED"})),
        feed.Selection(subjects=frozenset({"SHIPMENT"})),
        feed.Selection(statuses=frozenset({"CONFIRMED"})),
    ]
    async with engine.connect() as session:
        matched = await session.execute(feed.matched_after(), {"after": 0, "limit": 100})
        rows = matched.mappings().all()
        for selection in selections:
            values = {"after": 0, "until": 100, "limit": 100, **selection.values()}
            by_sql = [row.position for row in await session.execute(feed.selected(selection.columns), values)]
            by_python = [
                row["position"]
                for row in rows
                if all(row[column] in members for column, members in selection.given())
            ]
            assert by_sql == by_python
