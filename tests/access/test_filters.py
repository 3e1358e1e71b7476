"""What a caller may not read it may not filter or sort by either: a filter that finds a value tells it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from graphql import GraphQLInputObjectType, GraphQLObjectType, get_named_type
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql import visitors

from domain.access import PORTAL_SCOPES, Principal, PrincipalKind, Scope
from domain.order_commands import Address
from resolvers.root import make_schema
from schema.plan.catalog import Catalog, catalog_of
from schema.plan.inputs import Where
from schema.plan.reading import (
    PLAN,
    ReadConnection,
    ReadEmbedded,
    ReadExpression,
    ReadMoney,
    ReadRootMany,
    ReadRootOne,
)
from tests.serving import Api, served
from tests.world import STAFF, World, make_world

SEARCHES = {
    "OrderFilter.search": ("orders", "number", ["zaphod@example.com", "zaphod", "Beeble"]),
    "CustomerFilter.search": ("customers", "name", ["zaphod@example.com", "zaphod"]),
}
"""Filters that look at less without their scope: the root field, what they still find by, and what no longer."""


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return catalog_of(make_schema())


def columns_of(expression: Any) -> Iterator[sa.Column[Any]]:
    """The stored columns that an expression reads, those that a generated one is made of included."""
    for part in visitors.iterate(expression):
        for column in getattr(part, "base_columns", ()) if isinstance(part, sa.ColumnElement) else ():
            if not isinstance(column, sa.Column):
                continue
            yield column
            if column.computed is not None:
                made_of = str(column.computed.sqltext)
                yield from (each for each in column.table.c if re.search(rf"\b{each.name}\b", made_of))


def scoped_columns(catalog: Catalog) -> dict[sa.Column[Any], set[Scope]]:
    """The columns behind fields with a scope of their own."""
    found: dict[sa.Column[Any], set[Scope]] = {}
    for name, (type_, planned) in catalog.types.items():
        if name in ("CustomerExport", "OrderExport"):
            continue  # all that there is
        row = planned.row(planned.table.alias())
        for field in type_.fields.values():
            match catalog.read(field):
                case (
                    ReadExpression(scope=Scope() as scope, of=of)
                    | ReadEmbedded(scope=Scope() as scope, of=of)
                ):
                    read = of(row)
                case ReadMoney(scope=Scope() as scope, amount=amount):
                    read = amount(row)
                case _:
                    continue
            for column in columns_of(read):
                found.setdefault(column, set()).add(scope)
    return found


class Anything(SimpleNamespace):
    """An input object of which each field is given."""

    def __getattr__(self, name: str) -> Any:
        return sa.bindparam(name)


def given(type_: Any) -> Any:
    if isinstance(get_named_type(type_), GraphQLInputObjectType):
        return Anything()
    return sa.bindparam("given", type_=ARRAY(sa.Text()) if str(type_).startswith("[") else None)


def bound(kind: Any) -> Any:
    """For an argument of a root field, as it is declared."""
    return Anything() if hasattr(kind, "__strawberry_definition__") else sa.bindparam("given")


def conditions(catalog: Catalog) -> Iterator[tuple[str, Scope | None, Any]]:
    """All that callers find, sort or narrow rows by: its name, the scope it needs, and its SQL."""
    for type_ in catalog.schema.type_map.values():
        for field_name, field in type_.fields.items() if isinstance(type_, GraphQLObjectType) else ():
            place, read = f"{type_.name}.{field_name}", catalog.read(field)
            if not isinstance(read, ReadConnection | ReadRootOne | ReadRootMany):
                continue
            planned = catalog.planned(read.target)[1]
            row = planned.row(planned.table.alias())
            if isinstance(read, ReadRootOne):
                for group in read.by:
                    yield place, None, group.condition(row, *map(bound, group.arguments.values()))
            elif isinstance(read, ReadRootMany):
                if read.condition is not None:
                    yield place, None, read.condition(row, Anything())
            else:
                for sort, key in read.sort.keys.items():
                    yield f"{place} by {sort}", None, sa.tuple_(*key.columns(row))
                filter_type: Any = get_named_type(field.args["filter"].type) if read.filter else None
                for name, member in filter_type.fields.items() if filter_type else ():
                    where = member.extensions["strawberry-definition"].metadata[PLAN]
                    assert isinstance(where, Where)
                    assert where.unscoped is None or f"{filter_type.name}.{name}" in SEARCHES
                    yield f"{filter_type.name}.{name}", where.scope, where.condition(row, given(member.type))


def test_every_filter_and_sort_of_a_column_needs_the_scope_that_its_field_needs(catalog: Catalog) -> None:
    scoped = scoped_columns(catalog)
    assert {str(column) for column in scoped} >= {"orders.email", "customer.phone", "product.cost_amount"}
    tried = needing = 0
    for name, scope, condition in conditions(catalog):
        needed = {each for column in columns_of(condition) for each in scoped.get(column, ())}
        assert needed <= {scope}, name
        tried, needing = tried + 1, needing + bool(needed)
    assert tried > 150
    assert needing >= 3


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    async with served(database_url, workers=False) as served_api:
        yield served_api


@pytest.fixture
async def world(engine: Any) -> World:
    world = await make_world(engine, {"a": 10})
    address = Address(name="Beeblebrox", line1="Street 1", city="Porto", postal_code="1", country_code="PT")
    await world.place(("a", 1), email="zaphod@example.com", shipping_address=address)
    async with engine.begin() as session:
        await session.execute(sa.text("update customer set email = 'zaphod@example.com'"))
    return world


def without(scope: Scope, caller: Principal = STAFF, **changes: Any) -> Principal:
    return Principal(
        kind=caller.kind, account=f"{caller.account}-less", scopes=caller.scopes - {scope},
        channels=caller.channels, customer_id=changes.get("customer_id"),
    )  # fmt: skip


def blind(world: World) -> list[Principal]:
    """Callers that see the row and may not read the contact."""
    shopper = Principal(
        kind=PrincipalKind.CUSTOMER, account="customer:x", scopes=PORTAL_SCOPES, customer_id=world.customer_id
    )
    return [
        without(Scope.CUSTOMERS_CONTACT),
        without(Scope.CUSTOMERS_CONTACT, world.partner),
        without(Scope.CUSTOMERS_CONTACT, shopper, customer_id=world.customer_id),
    ]


FOUND = "query($text: String!) { %s(filter: {search: $text}) { totalCount nodes { %s } } }"


@pytest.mark.parametrize("name", SEARCHES)
async def test_a_search_without_the_scope_finds_only_by_what_may_be_read(
    api: Api, world: World, name: str
) -> None:
    root, shown, hidden = SEARCHES[name]
    query = FOUND % (root, shown)
    (node,) = (await api.data(STAFF, f"{{ {root} {{ nodes {{ {shown} }} }} }}"))[root]["nodes"]
    for caller in blind(world):
        for text in hidden:
            assert (await api.data(STAFF, query, {"text": text}))[root]["totalCount"] == 1, text
            assert (await api.data(caller, query, {"text": text}))[root] == {"totalCount": 0, "nodes": []}, (
                text
            )
            both = f"{node[shown]} {text}"
            assert (await api.data(caller, query, {"text": both}))[root]["totalCount"] == 0, both
        found = (await api.data(caller, query, {"text": node[shown]}))[root]
        assert found == {"totalCount": 1, "nodes": [node]}


@pytest.mark.parametrize(
    ("query", "given"),
    [
        ('{ customers(filter: {emails: ["zaphod@example.com"]}) { totalCount } }', {}),
        ("{ customers(filter: {emails: []}) { totalCount } }", {}),
        (
            "query($e: [String!]) { customers(filter: {emails: $e}) { nodes { id } } }",
            {"e": ["nobody@example.com"]},
        ),
        (
            "query($f: CustomerFilter) { customers(filter: $f) { nodes { id } } }",
            {"f": {"emails": ["zaphod@example.com"], "ids": []}},
        ),
    ],
)
async def test_a_filter_by_what_may_not_be_read_is_refused_as_the_field_is(
    api: Api, world: World, query: str, given: dict[str, Any]
) -> None:
    for caller in blind(world):
        answer = await api.answer(caller, query, given)
        assert "data" not in answer
        assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        assert answer["errors"][0]["message"] == "CustomerFilter.emails needs the scope customers:contact."
        unused = await api.data(caller, "{ customers(filter: {emails: null}) { totalCount } }")
        assert unused == {"customers": {"totalCount": 1}}
    assert "errors" not in await api.answer(STAFF, query, given)
