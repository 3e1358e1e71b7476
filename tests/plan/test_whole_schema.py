"""Every field of the real schema compiles, for every kind of caller, to SQL that PostgreSQL takes."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import orjson
import pytest
from graphql import (
    FieldNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    get_named_type,
    is_leaf_type,
    is_required_argument,
)

from app.graphql.execution import Executor
from db import visibility
from db.reads import Reads
from domain.access import ALL_SCOPES, Principal, PrincipalKind, VisibilityClass
from resolvers.root import make_schema
from schema.plan.collect import Collector
from schema.plan.limits import Limits
from schema.plan.planner import Planner
from schema.plan.reading import PLAN, ReadConnection
from schema.plan.statements import KeyedStatement

SOME = UUID("00000000-0000-7000-8000-000000000001")
UNBOUNDED = Limits(depth=99, aliases=10**6, root_fields=10**6, cost=10**9, fields=10**6, tokens=10**6)


def caller(kind: PrincipalKind, **bounds: object) -> Principal:
    return Principal(kind=kind, account=str(kind), scopes=ALL_SCOPES, **bounds)  # type: ignore[arg-type] # bounds


CALLERS = {
    "staff": caller(PrincipalKind.STAFF),
    "partner of channels": caller(PrincipalKind.PARTNER, channels=(SOME,)),
    "partner of locations": caller(PrincipalKind.PARTNER, locations=(SOME,)),
    "partner of both": caller(PrincipalKind.PARTNER, channels=(SOME,), locations=(SOME,)),
    "customer": caller(PrincipalKind.CUSTOMER, customer_id=SOME),
    "customer of a company": caller(PrincipalKind.CUSTOMER, customer_id=SOME, company_id=SOME),
    "guest": caller(PrincipalKind.GUEST, order_id=SOME),
}


def make_planner() -> Planner:
    return Planner(
        make_schema(),
        visibility.predicate,
        visibility.values,
        partition=visibility.partition,
        limits=UNBOUNDED,
    )


def selection(planner: Planner, type_: GraphQLObjectType, depth: int) -> str:
    """Every field of a type that needs no argument, and what hangs on it down to `depth`."""
    shown = ["__typename"]
    for name, field in type_.fields.items():
        if any(is_required_argument(argument) for argument in field.args.values()):
            continue
        named = get_named_type(field.type)
        if is_leaf_type(named):
            shown.append(name)
        elif isinstance(named, GraphQLObjectType):
            inner = depth if isinstance(planner.catalog.read(field), ReadConnection) else depth - 1
            if depth > 0:
                shown.append(f"{name} {{ {selection(planner, named, inner - 1)} }}")
        else:
            shown.append(f"{name} {{ __typename }}")
    return " ".join(shown)


def keyed(planner: Planner, prefix: str, caller: Principal) -> KeyedStatement:
    """What shows such entities in a payload: `selection`, two deep. Raises `RequestError` where the caller may not."""
    name = planner.catalog.nodes[prefix]
    type_ = planner.catalog.types[name][0]
    text = f'{{ node(id: "{prefix}_{SOME}") {{ ... on {type_.name} {{ {selection(planner, type_, 2)} }} }} }}'
    operation = planner.operation(text, None)
    [node] = operation.definition.selection_set.selections
    assert isinstance(node, FieldNode)
    collector = Collector(planner.catalog.schema, operation.fragments, {})
    entities = planner.entities(collector, {}, VisibilityClass.of(caller), inline=True)
    return entities.statement((name, (id(node),)), [node])


@pytest.mark.parametrize("name", CALLERS)
async def test_every_field_of_every_type_can_be_read(database_url: str, name: str) -> None:
    planner = make_planner()
    reads = Reads(database_url, size=1)
    executor = Executor(planner, reads, reads, lambda principal: None)
    for prefix, type_name in planner.catalog.nodes.items():
        type_ = planner.catalog.types[type_name][0]
        body = selection(planner, type_, 2)
        text = f'{{ node(id: "{prefix}_{SOME}") {{ ... on {type_.name} {{ {body} }} }} }}'
        answer = orjson.loads((await executor.execute(text, None, {}, CALLERS[name])).body)
        assert answer.get("errors") is None, (type_name, answer["errors"])
        assert answer["data"] == {"node": None}
    await reads.close()


def filtered(field: GraphQLField) -> Iterator[str]:
    """Arguments that try each filter field alone, each sort both ways, and paging both ways."""
    yield ""
    yield "(last: 3)"
    filter_type = field.args["filter"].type if "filter" in field.args else None
    if isinstance(filter_type, GraphQLInputObjectType):
        for name, member in filter_type.fields.items():
            yield f"(filter: {{{name}: {literal(member)}}})"
    if "sort" in field.args:
        for value in get_named_type(field.args["sort"].type).values:  # type: ignore[union-attr] # an enum
            yield f"(sort: {value}, direction: ASC)"
            yield f"(sort: {value}, direction: DESC, first: 2)"


def literal(member: GraphQLInputField) -> str:
    """Some value that the field takes."""
    prefix = getattr(member.extensions["strawberry-definition"].metadata.get(PLAN), "node", None)
    return literal_of(member.type, prefix)


def literal_of(type_: object, prefix: str | None) -> str:
    match type_:
        case GraphQLNonNull():
            return literal_of(type_.of_type, prefix)
        case GraphQLList():
            return f"[{literal_of(type_.of_type, prefix)}]"
        case GraphQLEnumType():
            return next(iter(type_.values))
        case GraphQLInputObjectType():
            return (
                "{" + ", ".join(f"{name}: {literal(member)}" for name, member in type_.fields.items()) + "}"
            )
    if prefix is not None:
        return f'"{prefix}_{SOME}"'
    values = {
        "Int": "1", "BigInt": "1", "Boolean": "true", "DateTime": '"2025-01-01T00:00:00Z"', "Date": '"2025-01-01"',
        "Decimal": '"1.5"', "Float": "1.5",
    }  # fmt: skip
    return values.get(getattr(type_, "name", ""), '"x"')


@pytest.mark.parametrize("name", CALLERS)
async def test_every_filter_and_sort_of_every_root_connection_can_be_read(
    database_url: str, name: str
) -> None:
    planner = make_planner()
    reads = Reads(database_url, size=1)
    executor = Executor(planner, reads, reads, lambda principal: None)
    query = planner.catalog.schema.query_type
    assert query is not None
    for field_name, field in query.fields.items():
        if not isinstance(planner.catalog.read(field), ReadConnection):
            continue
        for arguments in filtered(field):
            text = (
                f"{{ {field_name}{arguments} {{ edges {{ cursor }} pageInfo {{ hasNextPage endCursor }} "
                "totalCount } }"
            )
            answer = orjson.loads((await executor.execute(text, None, {}, CALLERS[name])).body)
            assert answer.get("errors") is None, (field_name, arguments, answer["errors"])
    await reads.close()
