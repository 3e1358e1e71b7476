"""What is forgotten of the event log: old cursors, and changes of stock that only they led to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from app.settings import Settings
from db.cursors import Cursor
from services import relay, retention
from services.consumers import CONSUMER
from services.retention import forget_events
from tests.invariants import assert_invariants
from tests.serving import served
from tests.world import STAFF, World, make_world

MONTH = timedelta(days=30)
AT_ONCE = timedelta(0)


async def row(world: World, statement: str) -> Any:
    async with world.engine.connect() as session:
        return (await session.execute(sa.text(statement))).one()


async def execute(world: World, statement: str, **values: Any) -> None:
    async with world.engine.begin() as session:
        await session.execute(sa.text(statement), values)


async def forget(world: World, noticed_within: timedelta = AT_ONCE) -> bool:
    async with world.engine.begin() as session:
        return await forget_events(session, MONTH, noticed_within)


async def head(world: World) -> int:
    position: int = (await row(world, "select position from relay"))[0]
    return position


async def relayed(world: World) -> int:
    """Everything so far is in the log and read by the consumer; the log's head."""
    async with world.engine.begin() as session:
        await relay.move(session)
    position = await head(world)
    await execute(
        world,
        "insert into consumer (name, position) values (:name, :position) "
        "on conflict (name) do update set position = excluded.position",
        name=CONSUMER,
        position=position,
    )
    return position


async def age(world: World, until: int) -> None:
    await execute(
        world,
        "update event_log set logged_at = now() - interval '31 days' where position <= :until",
        until=until,
    )


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    made = await make_world(engine, {"a": 50})
    assert await forget(made)  # the first step only takes the place of whoever forgets
    return made


async def test_old_cursors_expire_first_and_stock_changes_are_deleted_later(world: World) -> None:
    order_id = await world.place(("a", 2))
    old = await relayed(world)
    await age(world, old)
    await world.place(("a", 1))
    await relayed(world)
    timeline = await world.event_types(order_id)
    assert not await forget(world)
    assert (await row(world, "select horizon from relay"))[0] == old
    assert (await row(world, "select count(*) from event_log"))[0] == await head(world)
    # Until every process has noticed, nothing is deleted.
    assert not await forget(world, noticed_within=MONTH)
    assert (await row(world, "select count(*) from event_log"))[0] == await head(world)
    assert await forget(world)
    assert not await forget(world)
    left = await row(
        world,
        "select count(*) filter (where event_log.position <= relay.horizon and aggregate_kind = 'STOCK_LEVEL'), "
        "count(*) filter (where event_log.position > relay.horizon), max(relay.position - relay.horizon) "
        "from event_log cross join relay",
    )
    assert left[0] == 0
    assert left[1] == left[2] > 0
    assert await world.event_types(order_id) == timeline
    await assert_invariants(world.engine)
    # Life goes on: the level's versions continue where they were.
    await world.place(("a", 1))
    await relayed(world)
    await assert_invariants(world.engine)


async def test_nothing_that_a_consumer_has_yet_to_read_is_forgotten(world: World) -> None:
    await world.place(("a", 2))
    end = await relayed(world)
    await age(world, end)
    await execute(world, "update consumer set position = 2")
    assert not await forget(world)
    assert (await row(world, "select horizon from relay"))[0] == 2
    await execute(world, "insert into consumer (name, position) values ('webhooks', 0)")
    await execute(world, "update consumer set position = :end where name = 'jobs'", end=end)
    for _ in range(5):
        await forget(world)
    assert (await row(world, "select horizon from relay"))[0] == 2
    await assert_invariants(world.engine)


async def test_without_a_consumer_that_reads_it_the_log_is_kept(world: World) -> None:
    await world.place(("a", 2))
    async with world.engine.begin() as session:
        await relay.move(session)
    await age(world, await head(world))
    assert not await forget(world)
    assert (await row(world, "select horizon from relay"))[0] == 0


async def test_a_log_that_is_young_is_kept(world: World) -> None:
    await world.place(("a", 2))
    await relayed(world)
    for _ in range(3):
        assert not await forget(world)
    assert (await row(world, "select horizon from relay"))[0] == 0


async def test_forgetting_is_done_in_steps_that_can_be_cut_anywhere(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    for _ in range(5):
        await world.place(("a", 1))
    end = await relayed(world)
    await age(world, end)
    while not await forget(world):
        assert (await row(world, "select horizon from relay"))[0] == end
    async with world.engine.connect() as session:  # a step that is killed before its commit
        await forget_events(session, MONTH, AT_ONCE)
        await session.rollback()
    while await forget(world):
        await assert_invariants(world.engine)
    left = await row(world, "select count(*) from event_log where aggregate_kind = 'STOCK_LEVEL'")
    assert left[0] == 0
    await assert_invariants(world.engine)


async def test_two_that_forget_at_once_do_not_wait_for_each_other(world: World) -> None:
    await world.place(("a", 1))
    await age(world, await relayed(world))
    await forget(world)
    async with world.engine.begin() as rival:
        await forget_events(rival, MONTH, AT_ONCE)
        assert not await forget(world)
    await assert_invariants(world.engine)


async def test_a_cursor_from_before_the_horizon_is_refused_and_a_later_one_is_answered(
    world: World, database_url: str
) -> None:
    await world.place(("a", 1))
    old = await relayed(world)
    await age(world, old)
    await world.place(("a", 1))
    await relayed(world)
    await forget(world)
    epoch = (await row(world, "select epoch from relay"))[0]
    query = "query($after: String) { events(after: $after, first: 100) { cursor } }"
    async with served(database_url, workers=False) as api:
        body = await api.answer(STAFF, query, {"after": str(Cursor(epoch, old - 1))})
        assert body["errors"][0]["extensions"]["code"] == "CURSOR_EXPIRED"
        data = await api.data(STAFF, query, {"after": str(Cursor(epoch, old))})
        assert len(data["events"]) > 0


def test_by_default_keys_are_kept_for_a_week_and_cursors_for_ever() -> None:
    settings = Settings()
    assert (settings.idempotency_retention_days, settings.event_retention_days) == (7, None)
