"""A database with the toy shop in it, and an executor over it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.schema import CreateTable

from app.graphql.execution import Executor
from db.engine import asyncpg_dsn
from db.reads import Reads
from domain.access import ALL_SCOPES, Principal, PrincipalKind
from schema.plan.planner import Planner
from tests.conftest import administer, outside_any_loop
from tests.plan import toys

STAFF = Principal(kind=PrincipalKind.STAFF, account="staff", scopes=ALL_SCOPES)
PARTNER = Principal(kind=PrincipalKind.PARTNER, account="partner", scopes=ALL_SCOPES, channels=())


def key(kind: int, number: int) -> UUID:
    return UUID(f"00000000-0000-7000-800{kind}-{number:012d}")


def order_id(number: int) -> str:
    return f"ord_{key(1, number)}"


def guest(number: int) -> Principal:
    return Principal(kind=PrincipalKind.GUEST, account="guest", scopes=ALL_SCOPES, order_id=key(1, number))


ORDERS = 30
START = datetime(2025, 1, 1, tzinfo=UTC)
CURRENCIES = ("EUR", "JPY", "KWD")


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(asyncpg_dsn(url))
    try:
        for table in (toys.PersonRow, toys.OrderRow, toys.LineRow, toys.EventRow):
            await connection.execute(str(CreateTable(table.__table__).compile(dialect=PGDialect_asyncpg())))
        people = [
            (key(0, n), f'Person "{n}" ü\u2028', None if n % 2 else f"p{n}@example.com") for n in range(3)
        ]
        await connection.copy_records_to_table("person", records=people)
        for n in range(ORDERS):
            await connection.execute(
                "insert into toy_order values"
                " ($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb, $9, $10, $11::text::jsonb, $12, $13)",
                key(1, n),
                f"A{n:03d}",
                "web" if n % 3 else "store",
                ("OPEN", "SHIPPED", "CANCELLED")[n % 3],
                key(0, n % 3) if n % 5 else None,
                (n - 3) * 1234,
                CURRENCIES[n % 3],
                orjson.dumps({"line1": f"Street {n}", "city": None, "floor": n}).decode(),
                ["a", 'b"c'] if n % 2 else [],
                None if n % 4 else f"note\n{n}\t\u0001é",
                orjson.dumps({"n": n, "s": "ü"}).decode(),
                START + timedelta(hours=n // 2, microseconds=n // 2),
                None if n % 3 == 0 else START + timedelta(days=n),
            )
            for line in range(n % 4):
                await connection.execute(
                    "insert into toy_line values ($1,$2,$3,$4,$5,$6)",
                    key(2, n * 10 + line),
                    key(1, n),
                    line + 1,
                    f"SKU{line}",
                    line + 2,
                    1,
                )
            await connection.execute(
                "insert into toy_event values ($1,$2,'PLACED','ORDER',$2), ($3,$2,'PICKED','LINE',$4)",
                n * 2 + 1,
                key(1, n),
                n * 2 + 2,
                key(2, n * 10),
            )
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def toy_url(postgres: Any) -> Iterator[str]:
    name = f"toys_{uuid.uuid4().hex[:12]}"
    outside_any_loop(administer(postgres, f"create database {name}"))
    outside_any_loop(_fill(postgres.url(name)))
    yield postgres.url(name)
    outside_any_loop(administer(postgres, f"drop database {name} with (force)"))


class Context:
    """What mutations of the toy shop get: it writes with a connection of its own."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def place(self, number: str, quantities: list[int], note: str | None) -> UUID:
        connection = await asyncpg.connect(asyncpg_dsn(self._url))
        try:
            made = uuid.uuid4()
            await connection.execute(
                "insert into toy_order values"
                " ($1, $2, 'api', 'OPEN', null, 100, 'EUR', '{}', '{}', $3, '{}', now(), null)",
                made,
                number,
                note,
            )
            for place, quantity in enumerate(quantities):
                await connection.execute(
                    "insert into toy_line values ($1,$2,$3,'S',$4,0)", uuid.uuid4(), made, place, quantity
                )
            return made
        finally:
            await connection.close()


class CountingReads(Reads):
    """Reads that note every statement they run."""

    def __init__(self, url: str) -> None:
        super().__init__(url, size=3)
        self.statements: list[str] = []

    async def fetch_row(self, sql: str, values: Any) -> Any:
        self.statements.append(sql)
        return await super().fetch_row(sql, values)

    async def fetch(self, sql: str, values: Any) -> Any:
        self.statements.append(sql)
        return await super().fetch(sql, values)


@pytest.fixture(scope="session")
def planner() -> Planner:
    return Planner(toys.make_schema(), toys.predicate, toys.values)


@pytest.fixture
async def reads(toy_url: str) -> AsyncIterator[CountingReads]:
    pool = CountingReads(toy_url)
    yield pool
    await pool.close()


class Shop:
    """Executes operations and reads the answers."""

    def __init__(self, executor: Executor, reads: CountingReads, planner: Planner) -> None:
        self.executor = executor
        self.reads = reads
        self.planner = planner

    async def ask(
        self, text: str, principal: Principal = STAFF, operation: str | None = None, **variables: Any
    ) -> dict[str, Any]:
        """The response without the cost, which is tested by itself."""
        answer = orjson.loads((await self.executor.execute(text, operation, variables, principal)).body)
        answer.pop("extensions", None)
        return answer

    async def data(self, text: str, principal: Principal = STAFF, **variables: Any) -> dict[str, Any]:
        answer = await self.ask(text, principal, **variables)
        assert "errors" not in answer, answer
        return answer["data"]


@pytest.fixture
def shop(planner: Planner, reads: CountingReads, toy_url: str) -> Shop:
    return Shop(Executor(planner, reads, reads, lambda principal: Context(toy_url)), reads, planner)
