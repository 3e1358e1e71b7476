"""Pages over large tables: every filter and every sort is served by an index, for every kind of caller.

`OMS_EXPLAIN_ORDERS=200000` asks it of as many orders as `oms demo large` makes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import asyncpg
import orjson
import pytest
from graphql import GraphQLEnumType, GraphQLField, GraphQLInputField, GraphQLInputObjectType, get_named_type

from app import auth
from app.demo import large
from app.graphql.execution import Executor
from db import visibility
from db.engine import asyncpg_dsn, create_write_engine
from db.reads import Reads
from db.search import CANDIDATES
from domain.access import Principal, VisibilityClass
from schema.plan.operation import RequestError
from schema.plan.planner import Planner
from schema.plan.reading import PLAN, Planned, ReadConnection
from tests.conftest import administer, outside_any_loop
from tests.plan.test_whole_schema import keyed, literal, make_planner

pytestmark = pytest.mark.slow

ORDERS = int(os.environ.get("OMS_EXPLAIN_ORDERS", "20000"))
SIZE = large.Size(orders=ORDERS, products=max(1_000, ORDERS * 3 // 200), customers=max(4_000, ORDERS // 10))
LARGE_TABLE = 10_000
PAGE = 20
SEARCHES = ("c", "s")
"""Every order and customer has a word that begins with the one, every product with the other."""


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


@pytest.fixture(scope="module")
def planner() -> Planner:
    return make_planner()


@pytest.fixture
async def reads(large_url: str) -> AsyncIterator[Reads]:
    made = Reads(large_url, size=1)
    yield made
    await made.close()


@pytest.fixture
async def connection(reads: Reads) -> AsyncIterator[Any]:
    """One as queries have it: what it plans is what production plans."""
    async with reads.connection() as made:
        yield made


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


def root_connections(
    planner: Planner, caller: Principal
) -> Iterator[tuple[str, GraphQLField, ReadConnection]]:
    query = planner.catalog.schema.query_type
    assert query is not None
    for name, field in query.fields.items():
        read = planner.catalog.read(field)
        if isinstance(read, ReadConnection) and read.scope in caller.scopes:
            yield name, field, read


async def pages(connection: Any, planner: Planner, field: GraphQLField, read: ReadConnection) -> list[str]:
    """The page without arguments, each filter alone, and each sort alone, both ways."""
    found = [f"first: {PAGE}"]
    filter_type = get_named_type(field.args["filter"].type) if "filter" in field.args else None
    if isinstance(filter_type, GraphQLInputObjectType):
        planned = planner.catalog.planned(read.target)[1]
        for name, member in filter_type.fields.items():
            where = member.extensions["strawberry-definition"].metadata[PLAN]
            if where.candidates is None:
                for value in await values(connection, planner, planned, name, member):
                    found.append(f"first: {PAGE}, filter: {{{name}: {value}}}")
    if "sort" in field.args:
        for sort in get_named_type(field.args["sort"].type).values:  # type: ignore[union-attr] # an enum
            found.append(f"first: {PAGE}, sort: {sort}, direction: ASC")
            found.append(f"last: {PAGE}, sort: {sort}, direction: ASC")
    return found


async def values(  # noqa: PLR0911 - one a kind of field
    connection: Any, planner: Planner, planned: Planned, name: str, member: GraphQLInputField
) -> list[str]:
    """Literals for a filter field that find rows, where there are any: every enum value, single ids and some."""
    type_ = get_named_type(member.type)
    if isinstance(type_, GraphQLEnumType):
        return [*type_.values, f"[{', '.join(type_.values)}]"]
    if type_.name == "Boolean":
        return ["true", "false"]
    if type_.name == "DateTime":
        half_a_year_ago = await connection.fetchval("select now() - interval '180 days'")
        return [json.dumps(half_a_year_ago.isoformat())]
    if isinstance(type_, GraphQLInputObjectType):
        names = await connection.fetch("select system, external_id from external_id limit 1")
        return [f"{{system: {json.dumps(row[0])}, id: {json.dumps(row[1])}}}" for row in names]
    prefix = member.extensions["strawberry-definition"].metadata[PLAN].node
    if prefix is not None:
        table = planner.catalog.types[planner.catalog.nodes[prefix]][1].table_name
        rows = await connection.fetch(f"select id from {table} order by id limit 3")
        ids = [json.dumps(f"{prefix}_{row[0]}") for row in rows]
        return [f"[{ids[0]}]", f"[{', '.join(ids)}]"] if ids else []
    column = re.sub("[A-Z]", lambda found: "_" + found[0].lower(), name)
    column = column if column in planned.table.c else column.removesuffix("s")
    if column not in planned.table.c:
        return [literal(member)]
    stored = f"select {column} from {planned.table_name} where {column} is not null limit 1"
    return [json.dumps(await connection.fetchval(stored) or "x")]


def merged(planner: Planner, read: ReadConnection, caller: Principal, arguments: str) -> int:
    """How many pages a root page may be merged from: one for each of the filter's values or of the caller's bounds."""
    table = planner.catalog.planned(read.target)[1].table_name
    parts = visibility.partition(table, VisibilityClass.of(caller))
    bounds = {None: 1, "channel_id": len(caller.channels or ()), "location_id": len(caller.locations or ())}
    listed = arguments.partition("[")[2].count(",") + 1
    return max(bounds[parts and parts[0]], listed)


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes_of(inner)


async def large_tables(connection: Any) -> set[str]:
    counted = await connection.fetch(
        "select relname, reltuples from pg_class where relkind = 'r' and reltuples >= $1", LARGE_TABLE
    )
    tables = {row["relname"] for row in counted}
    assert {"orders", "order_line", "shipment", "fulfillment_order", "event_log"} <= tables
    return tables


async def explained(connection: Any, planner: Planner, caller: Principal, text: str) -> dict[str, Any]:
    """The plan that is run, with what its nodes did."""
    planned = planner.plan(planner.operation(text, None), {}, VisibilityClass.of(caller))
    together = planned.plan.together  # type: ignore[union-attr] # a query
    given = together.values(planned.values, visibility.values(caller))  # type: ignore[union-attr]
    return await run_plan(connection, together.sql, given)  # type: ignore[union-attr]


async def run_plan(connection: Any, sql: str, given: list[Any]) -> dict[str, Any]:
    """The plan of a statement as it is run, with what its nodes did."""
    # A statement that EXPLAIN gets with its parameters is planned for their values; a prepared one is not.
    await connection.execute(f"prepare page as {sql}")
    execute = f"execute page({', '.join(map(written, given))})" if given else "execute page"
    try:
        found = await connection.fetchval(f"explain (analyze, timing off, format json) {execute}")
    finally:
        await connection.execute("deallocate page")
    plan: dict[str, Any] = orjson.loads(found)[0]["Plan"]
    return plan


def written(value: Any) -> str:
    """A parameter's value as a literal of whatever type the parameter is."""
    if value is None:
        return "null"
    text = "{" + ",".join(f'"{each}"' for each in value) + "}" if isinstance(value, list) else str(value)
    return "'" + text.replace("'", "''") + "'"


def problems(plan: dict[str, Any], tables: set[str], *, most: int) -> Iterator[str]:
    """What a page should not need; `most` is how many rows may be sorted."""
    for node in nodes_of(plan):
        kind = node["Node Type"]
        if kind == "Seq Scan" and node["Relation Name"] in tables:
            yield f"sequential scan of {node['Relation Name']}"
        if kind in ("Gather", "Gather Merge"):
            yield "workers: a page of few rows reads many"
        if kind in ("Sort", "Incremental Sort"):
            rows = max(inner["Actual Rows"] * inner["Actual Loops"] for inner in node["Plans"])
            # An incremental sort reads one row further, to see that its first group has ended.
            if rows > most + (kind == "Incremental Sort"):
                yield f"sort of {rows} rows"


async def test_no_page_scans_a_large_table_or_sorts_more_than_it_shows(
    connection: Any, planner: Planner
) -> None:
    tables = await large_tables(connection)
    wrong = []
    for who, caller in (await callers(connection)).items():
        for name, field, read in root_connections(planner, caller):
            for arguments in await pages(connection, planner, field, read):
                text = f"{{ {name}({arguments}) {{ nodes {{ __typename }} pageInfo {{ hasNextPage }} }} }}"
                plan = await explained(connection, planner, caller, text)
                most = (PAGE + 1) * merged(planner, read, caller, arguments)
                wrong += [
                    f"{who}: {name}({arguments}): {problem}" for problem in problems(plan, tables, most=most)
                ]
    assert not wrong, "\n".join([f"{len(wrong)} of them", *wrong])


async def test_no_page_below_a_row_scans_a_large_table_or_sorts_more_than_it_shows(
    connection: Any, planner: Planner
) -> None:
    tables = await large_tables(connection)
    wrong, tried = [], 0
    for prefix, type_name in planner.catalog.nodes.items():
        type_, planned = planner.catalog.types[type_name]
        key = await connection.fetchval(f"select {planned.key} from {planned.table_name} limit 1")
        for name, field in type_.fields.items():
            read = planner.catalog.read(field)
            if key is None or not isinstance(read, ReadConnection):
                continue
            for arguments in await pages(connection, planner, field, read):
                page = f"{name}({arguments}) {{ nodes {{ __typename }} pageInfo {{ hasNextPage }} }}"
                text = f'{{ node(id: "{prefix}_{key}") {{ ... on {type_.name} {{ {page} }} }} }}'
                plan = await explained(connection, planner, auth.staff(), text)
                tried += 1
                wrong += [
                    f"{type_.name}.{name}({arguments}): {problem}"
                    for problem in problems(plan, tables, most=PAGE + 1)
                ]
    assert tried >= 5
    assert not wrong, "\n".join([f"{len(wrong)} of them", *wrong])


async def test_what_is_shown_of_a_write_is_found_by_its_key_with_all_that_hangs_on_it(
    connection: Any, planner: Planner
) -> None:
    tables = await large_tables(connection)
    every = await callers(connection)
    # Customers and guests of other orders, partners of other channels: as many as are read for together.
    orders = await connection.fetch("select * from orders where customer_id is not null limit 8")
    wrong, tried = [], 0
    for who, caller in every.items():
        together = [
            replace(
                caller,
                order_id=caller.order_id and order["id"],
                customer_id=caller.customer_id and order["customer_id"],
                channels=caller.channels and (order["channel_id"],),
            )
            for order in orders
        ]
        for prefix, name in planner.catalog.nodes.items():
            try:
                statement = keyed(planner, prefix, caller)
            except RequestError:
                continue
            planned = planner.catalog.types[name][1]
            keys = await connection.fetch(f"select {planned.key} from {planned.table_name} limit 8")
            for asking in (together[:1], together):
                given = [
                    {"place": place, "keys": [key[0]], **statement.bounds_of(visibility.values(each))}
                    for place, (each, key) in enumerate(zip(asking, keys, strict=False))
                ]
                plan = await run_plan(connection, statement.sql, [orjson.dumps(given, default=str).decode()])
                tried += 1
                wrong += [f"{who}: {name}: {problem}" for problem in problems(plan, tables, most=10 * PAGE)]
    assert tried >= 50
    assert not wrong, "\n".join([f"{len(wrong)} of them", *wrong])


def searched(planner: Planner, caller: Principal) -> Iterator[tuple[str, str, GraphQLField]]:
    """Every filter that takes candidates: its root field, and its own name."""
    for name, field, _ in root_connections(planner, caller):
        filter_type = get_named_type(field.args["filter"].type) if "filter" in field.args else None
        if not isinstance(filter_type, GraphQLInputObjectType):
            continue
        for member_name, member in filter_type.fields.items():
            if member.extensions["strawberry-definition"].metadata[PLAN].candidates is not None:
                yield name, member_name, field


async def test_free_text_sorts_a_thousand_candidates_at_most_whatever_it_finds(
    connection: Any, planner: Planner
) -> None:
    tables = await large_tables(connection)
    wrong, most = [], 0
    for who, caller in (await callers(connection)).items():
        for name, member, field in searched(planner, caller):
            sorts = get_named_type(field.args["sort"].type).values  # type: ignore[union-attr] # an enum
            for word in SEARCHES:
                for sort in sorts:
                    arguments = f'first: {PAGE}, sort: {sort}, filter: {{{member}: "{word}"}}'
                    text = f"{{ {name}({arguments}) {{ totalCount nodes {{ __typename }} }} }}"
                    plan = await explained(connection, planner, caller, text)
                    found = list(problems(plan, tables, most=CANDIDATES))
                    wrong += [f"{who}: {name}({arguments}): {problem}" for problem in found]
                    for node in nodes_of(plan):
                        if node["Node Type"] == "Sort":
                            most = max(most, *(inner["Actual Rows"] for inner in node["Plans"]))
    assert not wrong, "\n".join([f"{len(wrong)} of them", *wrong])
    assert most == CANDIDATES


async def test_a_search_is_paged_through_without_losing_or_repeating_what_the_caller_sees(
    reads: Reads, planner: Planner
) -> None:
    executor = Executor(planner, reads, reads, lambda principal: None)
    text = """query ($after: String, $sort: OrderSort) { orders(
        first: 100, after: $after, sort: $sort, filter: {search: "c"}
    ) { totalCount nodes { id channel { id } } pageInfo { hasNextPage endCursor } } }"""

    async def asked(text: str, caller: Principal, **variables: Any) -> Any:
        return orjson.loads((await executor.execute(text, None, variables, caller)).body)["data"]["orders"]

    async with reads.connection() as connection:
        every = await callers(connection)
    for who, caller in every.items():
        there = (await asked("{ orders(first: 0) { totalCount } }", caller))["totalCount"]
        taken = []
        for sort in ("PLACED_AT", "TOTAL"):
            seen: list[str] = []
            after, more = None, True
            while more:
                page = await asked(text, caller, after=after, sort=sort)
                seen += [node["id"] for node in page["nodes"]]
                after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
                assert page["totalCount"] == min(CANDIDATES, there), who
            assert len(seen) == len(set(seen)) == min(CANDIDATES, there), who
            taken.append(set(seen))
        assert taken[0] == taken[1], who
