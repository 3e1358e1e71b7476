"""Pages over large tables: every filter and every sort is served by an index, for every kind of caller."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import asyncpg
import orjson
import pytest
from graphql import GraphQLInputObjectType, get_named_type

from app import auth
from app.demo import large
from db import visibility
from db.engine import asyncpg_dsn, create_write_engine
from domain.access import Principal, VisibilityClass
from resolvers.root import make_schema
from schema.plan.planner import Planner
from schema.plan.reading import ReadConnection
from tests.conftest import administer, outside_any_loop
from tests.plan.test_whole_schema import UNBOUNDED, literal

pytestmark = pytest.mark.slow

SIZE = large.Size(orders=20_000, products=1_000, customers=4_000)
LARGE_TABLE = 10_000
PAGE = 20
CHANNELS = 16
"""The most channels that a partner's page is merged from here: each gives a page of its own to the merge."""
FREE_TEXT = 1_000


@pytest.fixture(scope="module")
def large_url(postgres: Any, template: str) -> Iterator[str]:
    name = "oms_explain"
    outside_any_loop(administer(postgres, f"create database {name} template {template} strategy file_copy"))
    outside_any_loop(_fill(postgres.url(name)))
    yield postgres.url(name)
    outside_any_loop(administer(postgres, f"drop database {name} with (force)"))


async def _fill(url: str) -> None:
    engine = create_write_engine(url, pool_size=1, statement_timeout_seconds=600)
    try:
        async with engine.begin() as session:
            await large.load(session, lambda what, done, total: None, SIZE)  # type: ignore[arg-type]
    finally:
        await engine.dispose()
    connection = await asyncpg.connect(asyncpg_dsn(url))
    await connection.execute("vacuum analyze")
    await connection.close()


@pytest.fixture
async def connection(large_url: str) -> Any:
    made = await asyncpg.connect(
        asyncpg_dsn(large_url),
        server_settings={"plan_cache_mode": "force_generic_plan", "jit": "off", "TimeZone": "UTC"},
    )
    yield made
    await made.close()


async def callers(connection: Any) -> dict[str, Principal]:
    order = await connection.fetchrow("select * from orders where customer_id is not null limit 1")
    location = await connection.fetchval("select id from location limit 1")
    channels = await connection.fetch("select id from channel")
    return {
        "staff": auth.staff(),
        "partner of a channel": auth.partner("p", channels=(order["channel_id"],)),
        "partner of channels": auth.partner("p", channels=tuple(row["id"] for row in channels)),
        "partner of a location": auth.partner("p", locations=(location,)),
        "customer": auth.customer(order["customer_id"]),
        "guest": auth.guest(order["id"]),
    }


def selections(planner: Planner, caller: Principal) -> Iterator[tuple[str, str]]:
    """Every root connection that the caller may ask for: each filter alone, and each sort alone, both ways."""
    query = planner.catalog.schema.query_type
    assert query is not None
    for name, field in query.fields.items():
        read = planner.catalog.read(field)
        if not isinstance(read, ReadConnection) or read.scope not in caller.scopes:
            continue
        yield name, f"first: {PAGE}"
        filter_type = get_named_type(field.args["filter"].type) if "filter" in field.args else None
        if isinstance(filter_type, GraphQLInputObjectType):
            for member_name, member in filter_type.fields.items():
                yield name, f"first: {PAGE}, filter: {{{member_name}: {literal(member)}}}"
        if "sort" in field.args:
            for value in get_named_type(field.args["sort"].type).values:  # type: ignore[union-attr] # an enum
                yield name, f"first: {PAGE}, sort: {value}, direction: ASC"
                yield name, f"last: {PAGE}, sort: {value}, direction: ASC"


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes_of(inner)


async def test_no_page_scans_a_large_table_or_sorts_more_than_it_shows(connection: Any) -> None:
    planner = Planner(
        make_schema(),
        visibility.predicate,
        visibility.values,
        partition=visibility.partition,
        limits=UNBOUNDED,
    )
    counted = await connection.fetch(
        "select relname, reltuples from pg_class where relkind = 'r' and reltuples >= $1", LARGE_TABLE
    )
    tables = {row["relname"] for row in counted}
    assert {"orders", "order_line", "shipment", "fulfillment_order"} <= tables
    wrong = []
    for who, caller in (await callers(connection)).items():
        for name, arguments in selections(planner, caller):
            text = f"{{ {name}({arguments}) {{ nodes {{ __typename }} pageInfo {{ hasNextPage }} }} }}"
            planned = planner.plan(planner.operation(text, None), {}, VisibilityClass.of(caller))
            together = planned.plan.together  # type: ignore[union-attr] # a query
            values = together.values(planned.values, visibility.values(caller))  # type: ignore[union-attr]
            plan = await explained(connection, together.sql, values)  # type: ignore[union-attr]
            for problem in problems(plan, tables, free_text="search:" in arguments):
                wrong.append(f"{who}: {name}({arguments}): {problem}")
    assert not wrong, "\n".join([f"{len(wrong)} of them", *wrong])


async def explained(connection: Any, sql: str, values: list[Any]) -> dict[str, Any]:
    """The plan that is run, with what its nodes did."""
    found = await connection.fetchval(f"explain (analyze, timing off, format json) {sql}", *values)
    plan: dict[str, Any] = orjson.loads(found)[0]["Plan"]
    return plan


def problems(plan: dict[str, Any], tables: set[str], *, free_text: bool) -> Iterator[str]:
    for node in nodes_of(plan):
        kind = node["Node Type"]
        if kind == "Seq Scan" and node["Relation Name"] in tables:
            yield f"sequential scan of {node['Relation Name']}"
        if kind in ("Sort", "Incremental Sort"):
            rows = max(inner["Actual Rows"] for inner in node["Plans"])
            most = FREE_TEXT if free_text else (PAGE + 1) * CHANNELS
            if rows > most:
                yield f"sort of {rows} rows"
