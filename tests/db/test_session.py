"""What a session sends, and when; what it gives back is what was written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db.base import new_id
from db.channels import ExternalId
from db.customers import Customer
from db.engine import Engine, create_write_engine
from db.locations import Location
from domain.stock import LocationKind

NOW = datetime(2026, 2, 3, 4, 5, 6, 789_012, tzinfo=UTC)


class Watched:
    """An engine with one connection, and what was sent on it."""

    def __init__(self, engine: Engine, sent: list[str]) -> None:
        self.engine = engine
        self.sent = sent

    async def words(self) -> list[str]:
        """The first words of what was sent since the last time."""
        await asyncio.sleep(0)  # the driver tells a turn of the loop later
        words = [text.split()[0] for text in self.sent]
        self.sent.clear()
        return words


@pytest.fixture
async def watched(database_url: str) -> AsyncIterator[Watched]:
    sent: list[str] = []
    engine = create_write_engine(database_url, pool_size=1)
    engine.on_statement(lambda logged: sent.append(logged.query))
    async with engine.begin() as session:
        await session.execute(sa.select(1))
    await asyncio.sleep(0)
    sent.clear()
    yield Watched(engine, sent)
    await engine.dispose()


def location(code: str, **more: Any) -> dict[str, Any]:
    return {"id": new_id(), "code": code, "name": code, "kind": LocationKind.WAREHOUSE, **more}


async def test_writes_that_nobody_waits_for_go_as_one_statement(watched: Watched) -> None:
    async with watched.engine.begin(gathering=True) as session:
        await session.add(Location, [location("a")])
        await session.add(Location, [location("b")])
        await session.execute(sa.insert(Customer).values(id=new_id(), name="Ada"))
        assert await watched.words() == []
    assert await watched.words() == ["BEGIN", "WITH", "COMMIT"]
    async with watched.engine.connect() as session:
        codes = (await session.execute(sa.select(Location.code).order_by(Location.code))).scalars().all()
        assert codes == ["a", "b"]


async def test_what_is_read_is_written_first_and_nothing_else(watched: Watched) -> None:
    async with watched.engine.begin(gathering=True) as session:
        await session.add(Location, [location("a")])
        assert (await session.execute(sa.select(Customer.id))).all() == []
        assert await watched.words() == ["BEGIN", "SELECT"]
        assert await session.scalar(sa.select(Location.code)) == "a"
        assert await watched.words() == ["INSERT", "SELECT"]


async def test_a_second_change_of_a_table_sees_the_first(watched: Watched) -> None:
    async with watched.engine.begin(gathering=True) as session:
        await session.add(Location, [location("a")])
        await session.execute(sa.update(Location).values(name=Location.name + "!"))
        await session.execute(sa.update(Location).values(name=Location.name + "?"))
        await session.execute(sa.delete(Customer))
    assert await watched.words() == ["BEGIN", "INSERT", "UPDATE", "WITH", "COMMIT"]
    async with watched.engine.connect() as session:
        assert await session.scalar(sa.select(Location.name)) == "a!?"


async def test_elsewhere_each_write_is_sent_at_once(watched: Watched) -> None:
    async with watched.engine.begin() as session:
        await session.add(Location, [location("a")])
        await session.execute(sa.update(Location).values(name="b"))
        assert await watched.words() == ["BEGIN", "INSERT", "UPDATE"]


@pytest.mark.parametrize("count", [1, 3])
async def test_one_row_and_many_are_stored_as_they_are(watched: Watched, count: int) -> None:
    address = {"city": "Zürich", "lines": ["a\\b", '"c"', None], "number": 2**53 + 1}
    rows = [
        location(f"{number}", address=address, active=False, created_at=NOW, metadata_={})
        for number in range(count)
    ]
    async with watched.engine.begin(gathering=True) as session:
        await session.add(Location, rows)
        found = (await session.execute(sa.select(Location.__table__).order_by(Location.code))).all()
    assert [(row.id, row.code, row.kind) for row in found] == [
        (row["id"], row["code"], LocationKind.WAREHOUSE) for row in rows
    ]
    assert all(row.address == address and row.created_at == NOW and not row.active for row in found)
    assert isinstance(found[0].kind, LocationKind)


async def test_rows_with_conflicts_return_those_that_were_new(watched: Watched) -> None:
    def name(system: str) -> dict[str, Any]:
        return {
            "id": new_id(),
            "entity_kind": "ORDER",
            "entity_id": new_id(),
            "system": system,
            "external_id": "1",
        }

    statement = insert(ExternalId).on_conflict_do_nothing().returning(ExternalId.system)
    async with watched.engine.begin(gathering=True) as session:
        assert (await session.execute(statement, [name("erp")])).scalars().all() == ["erp"]
        taken = await session.execute(statement, [name("erp"), name("shop"), name("crm")])
        assert sorted(taken.scalars()) == ["crm", "shop"]
    assert await watched.words() == ["BEGIN", "INSERT", "INSERT", "COMMIT"]


async def test_a_constraint_says_what_it_was_told_to_say(watched: Watched) -> None:
    class Taken(Exception):
        pass

    async with watched.engine.begin() as session:
        await session.add(Location, [location("a")])
    with pytest.raises(Taken):
        async with watched.engine.begin(gathering=True) as session:
            await session.add(Location, [location("a")], unless={"uq_location_code": Taken})
    with pytest.raises(asyncpg.UniqueViolationError):
        async with watched.engine.begin(gathering=True) as session:
            await session.add(Location, [location("a")])
    # The connection is used on, and nothing of either is left.
    async with watched.engine.begin() as session:
        assert await session.scalar(sa.select(sa.func.count()).select_from(Location)) == 1
    assert (await watched.words()).count("ROLLBACK") == 2
