"""Plans against an oracle: random operations over the whole schema, for every kind of caller, byte for byte."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncpg
import orjson
import pytest
from graphql import build_schema, print_schema
from sqlalchemy.ext.asyncio import create_async_engine

from app import auth
from app.demo import load as load_demo
from app.graphql.execution import Executor
from db import visibility
from db.engine import asyncpg_dsn
from db.events import EventColumns
from db.reads import Reads
from domain.access import Principal
from resolvers.root import make_schema
from schema.plan.limits import Limits
from tests.conftest import administer, outside_any_loop
from tests.reads import facts as stored
from tests.reads.facts import Facts
from tests.reads.operations import Generator, Operation
from tests.reads.oracle import Oracle
from tests.reads.payloads import Answering, PayloadGenerator

# Availability is every product in every channel: its rows are a product by design.
pytestmark = pytest.mark.filterwarnings("ignore:SELECT statement has a cartesian product")

SEED = 20_260_731
OPERATIONS = 1_001
PAYLOADS = 203
UNBOUNDED = Limits(depth=99, aliases=10**6, root_fields=10**6, cost=10**9, fields=10**6, tokens=10**6)

EVENTS = ", ".join(name for name in EventColumns.__annotations__)


@pytest.fixture(scope="module")
def shop_url(postgres: Any, template: str) -> Iterator[str]:
    """The small demo shop, most of its events logged."""
    name = "oms_oracle"
    outside_any_loop(administer(postgres, f"create database {name} template {template} strategy file_copy"))
    outside_any_loop(_fill(postgres.url(name)))
    yield postgres.url(name)
    outside_any_loop(administer(postgres, f"drop database {name} with (force)"))


async def _fill(url: str) -> None:
    await load_demo(url, "small", lambda what, done, total: None)
    connection = await asyncpg.connect(asyncpg_dsn(url))
    try:
        await connection.execute(
            f"insert into event_log (position, {EVENTS}, created_at) "
            f"select row_number() over (order by id), {EVENTS}, created_at from outbox"
        )
        await connection.execute("delete from outbox")
        await connection.execute("update relay set position = (select max(position) from event_log)")
        # What makes rendering hard: quotes, controls, other scripts, extreme numbers and times.
        await connection.execute(
            "update product set name = E'q\"\\\\ \\t\\x01\\u2028 ü 漢 😀' || sku, weight_grams = 2147483647 "
            "where id in (select id from product order by sku limit 5)"
        )
        await connection.execute(
            "update customer set name = E'<b>&''\"\\n', created_at = '9999-12-31 23:59:59.999999+00', "
            'metadata_ = \'{"a b": [1.50, null, "ü"]}\' where id in (select id from customer order by id limit 3)'
        )
        await connection.execute(
            "update orders set placed_at = '0001-01-01 00:00:00.000001+00', updated_at = '1969-12-31 23:59:59.5+00', "
            "note = E'\\u202e\\U0001f469\\u200d\\U0001f680 \\\\u0000 </script>\\r\\n', "
            'metadata_ = \'{"\\u0001": 1e40, "n": -9223372036854775809, "": {"": []}}\' '
            "where id in (select id from orders order by id limit 7)"
        )
        await connection.execute(
            "update orders set current_total = 9223372036854775806, version = 9223372036854775807 "
            "where id in (select id from orders order by id desc limit 3)"
        )
        await connection.execute("vacuum analyze")
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def planner() -> Answering:
    return Answering(
        make_schema(),
        visibility.predicate,
        visibility.values,
        partition=visibility.partition,
        limits=UNBOUNDED,
    )


@pytest.fixture(scope="module")
def facts(shop_url: str, planner: Answering) -> Facts:
    return outside_any_loop(_load(shop_url, planner))


async def _load(url: str, planner: Answering) -> Facts:
    engine = create_async_engine(url)
    try:
        return await stored.load(engine, planner.catalog)
    finally:
        await engine.dispose()


@pytest.fixture
async def reads(shop_url: str) -> AsyncIterator[Reads]:
    made = Reads(shop_url, size=2)
    yield made
    await made.close()


def callers(facts: Facts) -> list[Principal]:
    """One of every kind, each of whom sees something."""
    orders = facts.tables["orders"]
    channels = tuple(row["id"] for row in facts.tables["channel"])
    locations = tuple(row["id"] for row in facts.tables["location"])
    bought = next(row for row in orders if row["customer_id"] is not None and row["company_id"] is None)
    for_company = next(row for row in orders if row["company_id"] is not None)
    returned = facts.tables["returns"][0]["order_id"]
    return [
        auth.staff(),
        auth.partner("p:channels", channels=channels[:2]),
        auth.partner("p:location", locations=locations[:1]),
        auth.partner("p:both", channels=channels[1:4], locations=locations[1:]),
        auth.customer(bought["customer_id"]),
        auth.customer(for_company["customer_id"], for_company["company_id"]),
        auth.guest(returned),
    ]


class Trial:
    """One caller's answers, ours and the oracle's."""

    def __init__(
        self, planner: Answering, reads: Reads, executor: Executor, oracle: Oracle, caller: Principal
    ) -> None:
        self.caller = caller
        self._planner = planner
        self._reads = reads
        self._executor = executor
        self._oracle = oracle

    async def difference(self, operation: Operation) -> str | None:
        """What differs, or None."""
        text, variables = operation.text_and_variables()
        shown = {name: given.shown for name, given in operation.given.items()} if operation.given else None
        expected, failed = self._oracle.answer(text, variables, shown)
        if operation.kind == "subscription":
            return await self._difference_of_event(operation, text, variables, expected, failed)
        self._planner.given = operation.given
        body = (await self._executor.execute(text, None, variables, self.caller)).body
        if failed:
            answer = orjson.loads(body)
            paths = sorted(error["path"][0] for error in answer.get("errors", ()))
            return None if paths == failed else f"{text}\n{variables}\nfailed: {failed}\nours: {body!r}"
        start = b'{"data":' + expected + b',"extensions":'
        if body.startswith(start):
            return None
        return f"{text}\n{variables}\n{self.caller.account}\nours:   {body!r}\noracle: {expected!r}"

    async def _difference_of_event(
        self, operation: Operation, text: str, variables: dict[str, Any], expected: bytes, failed: list[str]
    ) -> str | None:
        [given] = operation.given.values()
        plan = self._planner.plan_subscription(text, None, variables, self.caller)
        async with self._reads.connection() as connection:
            rendered = await plan.render(connection, [given.payload], self.caller)
        shown = rendered.get(given.payload)
        if failed and shown is None:  # the root field may not be null: who does not see the event gets none
            return None
        if shown == b'{"data":' + expected + b"}" and not failed:
            return None
        return f"{text}\n{variables}\n{self.caller.account}\nours:   {shown!r}\noracle: {expected!r}"

    async def smallest(self, operation: Operation) -> str:
        """The difference of an operation from which nothing can be left out."""
        found = await self.difference(operation)
        assert found is not None
        tried = 0
        shrinking = True
        while shrinking and tried < 300:
            shrinking = False
            for smaller in operation.smaller():
                tried += 1
                difference = await self.difference(smaller)
                if difference is not None:
                    operation, found, shrinking = smaller, difference, True
                    break
        return found


Make = Callable[[Generator], Operation]


async def run(
    reads: Reads, planner: Answering, facts: Facts, make: Make, seed: int, operations: int, *, each: bool
) -> None:
    schema = build_schema(print_schema(planner.catalog.schema))  # as served, with nothing that could answer
    executor = Executor(planner, reads, reads, lambda principal: None)
    trials = [
        Trial(planner, reads, executor, Oracle(schema, planner.catalog, facts, caller), caller)
        for caller in callers(facts)
    ]
    chance = random.Random(seed)  # noqa: S311 - a test repeats itself
    for number in range(operations):
        of_this = random.Random(chance.getrandbits(64))  # noqa: S311 - the same
        for trial in trials if each else [trials[number % len(trials)]]:
            operation = make(Generator(planner.catalog, facts, trial.caller.scopes, of_this))
            if await trial.difference(operation) is not None:
                pytest.fail(f"operation {number} of seed {seed}:\n{await trial.smallest(operation)}")


def query(generator: Generator) -> Operation:
    return generator.operation()


def payload(generator: Generator) -> Operation:
    generators = PayloadGenerator(generator)
    return generators.mutation() if generator.chance.random() < 0.5 else generators.subscription()


async def test_a_thousand_random_operations_are_answered_as_the_oracle_answers_them(
    reads: Reads, planner: Answering, facts: Facts
) -> None:
    await run(reads, planner, facts, query, SEED, OPERATIONS, each=False)


async def test_payloads_and_events_show_entities_as_the_oracle_does(
    reads: Reads, planner: Answering, facts: Facts
) -> None:
    await run(reads, planner, facts, payload, SEED, PAYLOADS, each=False)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(int(os.environ.get("OMS_ORACLE_SEEDS", "1"))))  # seven minutes each
async def test_every_kind_of_caller_is_answered_as_the_oracle_answers_it(
    reads: Reads, planner: Answering, facts: Facts, seed: int
) -> None:
    await run(reads, planner, facts, query, seed, OPERATIONS, each=True)
    await run(reads, planner, facts, payload, seed, PAYLOADS, each=True)
