"""Everything the API can show of a small database, loaded row by row and relation by relation, without plans.

A field's value is what its own little SELECT says; a relation is the pairs that its
join says; an order of rows is the rank that ORDER BY says. Nothing here nests,
concatenates, pages or filters by caller.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from graphql import GraphQLEnumType, GraphQLInputObjectType, GraphQLList, GraphQLNonNull, get_named_type
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from schema.plan.catalog import Catalog
from schema.plan.inputs import Where
from schema.plan.reading import (
    PLAN,
    Planned,
    ReadConnection,
    ReadEmbedded,
    ReadExpression,
    ReadMany,
    ReadMoney,
    ReadOne,
    ReadOneOf,
    Row,
)

HARD_TEXTS = ("zz'é\\ top", "😀 漢\u2028:* | !(a & b) %_", "\u202eolleh\t\x01")


@dataclass(eq=False, slots=True)
class Entity:
    """One row of a planned type: its columns, and its fields' values by GraphQL name."""

    type: str  # GraphQL name
    python: str  # name of the Python class
    table: str
    key: Any
    row: Mapping[str, Any]
    values: Mapping[str, Any]


@dataclass(slots=True)
class Choice:
    """A value that a filter field can take: as GraphQL literal, as variable, and the keys of the rows it leaves."""

    literal: str
    value: Any
    keys: frozenset[Any]


@dataclass(slots=True)
class Facts:
    entities: dict[str, dict[Any, Entity]] = field(default_factory=dict)  # Python name -> key -> entity
    tables: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    related: dict[tuple[str, str], dict[Any, list[Any]]] = field(default_factory=dict)
    ranks: dict[tuple[str, str, str], dict[Any, tuple[int, list[Any]]]] = field(default_factory=dict)
    choices: dict[tuple[str, str], list[Choice]] = field(default_factory=dict)  # filter type, field
    logged: list[Any] = field(default_factory=list)  # keys of logged events, the oldest first
    head: str = ""


async def load(engine: AsyncEngine, catalog: Catalog) -> Facts:
    facts = Facts()
    async with engine.connect() as connection:
        loader = _Loader(connection, catalog, facts)
        for name in catalog.types:
            await loader.entities(name)
        channel_locations = sa.text("select * from channel_location")
        rows = (await connection.execute(channel_locations)).mappings()
        facts.tables["channel_location"] = [dict(row) for row in rows]
        for name in catalog.types:
            await loader.relations(name)
        query = catalog.schema.query_type
        assert query is not None
        for field_name, root in query.fields.items():
            read = catalog.read(root)
            if isinstance(read, ReadConnection):
                await loader.ranks("Query", field_name, read)
                await loader.choices(root, read)
        facts.head = (
            await connection.execute(sa.select(_root_expression(catalog, "eventHead")))
        ).scalar_one()
        logged = await connection.execute(sa.text("select event_id from event_log order by position"))
        facts.logged = list(logged.scalars())
    return facts


def _root_expression(catalog: Catalog, name: str) -> Any:
    query = catalog.schema.query_type
    assert query is not None
    return catalog.read(query.fields[name]).of().scalar_subquery()  # type: ignore[union-attr] # an expression


class _Loader:
    def __init__(self, connection: AsyncConnection, catalog: Catalog, facts: Facts) -> None:
        self._connection = connection
        self._catalog = catalog
        self._facts = facts

    async def entities(self, name: str) -> None:
        type_, planned = self._catalog.types[name]
        row = planned.row(planned.table.alias())
        selected = [column.label(f"c_{column.key}") for column in row.source.c]
        for field_name, declared in type_.fields.items():
            selected += _values(self._catalog.read(declared), declared.type, field_name, row)
        found: dict[Any, Entity] = {}
        for loaded in (await self._connection.execute(sa.select(*selected))).mappings():
            columns = {label[2:]: value for label, value in loaded.items() if label.startswith("c_")}
            columns = {label: getattr(value, "name", value) for label, value in columns.items()}
            values = {label[2:]: value for label, value in loaded.items() if label.startswith("f_")}
            key = _key([columns[name] for name in _identity(planned)])
            entity = Entity(type_.name, name, planned.table_name, key, columns, values)
            found[key if key not in found else (key, len(found))] = entity
        self._facts.entities[name] = found
        self._facts.tables.setdefault(planned.table_name, [entity.row for entity in found.values()])

    async def relations(self, name: str) -> None:
        type_, planned = self._catalog.types[name]
        for field_name, declared in type_.fields.items():
            match self._catalog.read(declared):
                case ReadOne() as read:
                    await self._pairs(planned, type_.name, field_name, read, [])
                case ReadMany() as read:
                    await self._pairs(planned, type_.name, field_name, read, read.order_by)
                case ReadConnection() as read:
                    await self._pairs(planned, type_.name, field_name, read, [])
                    await self.ranks(type_.name, field_name, read)

    async def _pairs(
        self, planned: Planned, type_name: str, field_name: str, read: Any, order_by: Any
    ) -> None:
        target_planned = self._catalog.types[read.target][1]
        parent = planned.row(planned.table.alias())
        target = target_planned.row(target_planned.table.alias())
        ordered = list(order_by(target)) if callable(order_by) else []
        parent_key = [parent.source.c[name] for name in _identity(planned)]
        target_key = [target.source.c[name] for name in _identity(target_planned)]
        pairs = (
            sa.select(*parent_key, *target_key)
            .select_from(parent.source.join(target.source, read.on(parent, target)))
            .order_by(*ordered)
        )
        found: dict[Any, list[Any]] = {}
        for pair in await self._connection.execute(pairs):
            known = found.setdefault(_key(pair[: len(parent_key)]), [])
            reached = _key(pair[len(parent_key) :])
            if reached not in known:
                known.append(reached)
        self._facts.related[type_name, field_name] = found

    async def ranks(self, type_name: str, field_name: str, read: ReadConnection) -> None:
        planned = self._catalog.types[read.target][1]
        for name, key in read.sort.keys.items():
            row = planned.row(planned.table.alias())
            identity = row.source.c[planned.key]
            columns = list(key.columns(row))
            if not any(column is identity for column in columns):
                columns.append(identity)
            rank = sa.func.row_number().over(order_by=columns)
            ranked = await self._connection.execute(sa.select(identity, rank, *columns))
            self._facts.ranks[f"{type_name}.{field_name}", read.target, name] = {
                each[0]: (each[1], list(each[2:])) for each in ranked
            }

    async def choices(self, root: Any, read: ReadConnection) -> None:
        if "filter" not in root.args:
            return
        filter_type = get_named_type(root.args["filter"].type)
        assert isinstance(filter_type, GraphQLInputObjectType)
        planned = self._catalog.types[read.target][1]
        for name, member in filter_type.fields.items():
            where = member.extensions["strawberry-definition"].metadata[PLAN]
            offered = self._offered(member.type, where, planned, name)
            found = []
            for literal, value, bound in offered:
                row = planned.row(planned.table.alias())
                keys = sa.select(row.source.c[planned.key]).where(where.condition(row, bound))
                rows = await self._connection.execute(keys)
                found.append(Choice(literal, value, frozenset(rows.scalars())))
            self._facts.choices[filter_type.name, name] = found

    def _offered(self, type_: Any, where: Where, planned: Planned, name: str) -> list[tuple[str, Any, Any]]:
        """Some values: (GraphQL literal, JSON value, SQL)."""
        inner = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
        if isinstance(inner, GraphQLList):
            return self._lists(_inner(inner.of_type), where, planned, name)
        if isinstance(inner, GraphQLInputObjectType):
            return self._external_ids(inner)
        match inner.name:
            case "Boolean":
                return [(str(value).lower(), value, sa.literal(value)) for value in (True, False)]
            case "DateTime":
                instants = sorted(
                    entity.row[column]
                    for entity in self._all(planned)
                    for column in ("updated_at", "placed_at", "created_at", "requested_at")
                    if entity.row.get(column) is not None
                )
                return [
                    (f'"{at.isoformat()}"', at.isoformat(), sa.literal(at, TIMESTAMP(timezone=True)))
                    for at in instants[:: max(1, len(instants) // 3)][:3]
                ]
        if isinstance(inner, GraphQLEnumType):
            return [(text, text, sa.literal(text)) for text in list(inner.values)[:3]]
        texts = self._texts(planned, name)[:3]
        return [(json.dumps(text), text, sa.literal(text)) for text in [*texts, *HARD_TEXTS]]

    def _lists(self, item: Any, where: Where, planned: Planned, name: str) -> list[tuple[str, Any, Any]]:
        if isinstance(item, GraphQLEnumType):
            names = list(item.values)
            lists = [names[:1], names[::2], []]
            return [(f"[{', '.join(each)}]", each, sa.literal(each, ARRAY(sa.Text()))) for each in lists]
        if where.node is not None:
            target = self._catalog.nodes[where.node]
            keys = list(self._facts.entities[target])[:6]
            return [
                (
                    json.dumps([f"{where.node}_{key}" for key in some]),
                    [f"{where.node}_{key}" for key in some],
                    sa.literal(some, ARRAY(sa.Uuid())),
                )
                for some in (keys[:1], keys[1:5], [])
            ]
        texts = self._texts(planned, name)
        return [
            (json.dumps(some), some, sa.literal(some, ARRAY(sa.Text()))) for some in (texts[:1], texts[1:5])
        ]

    def _external_ids(self, type_: GraphQLInputObjectType) -> list[tuple[str, Any, Any]]:
        rows = self._facts.tables.get("external_id", [])[:40:15]
        return [
            (
                f"{{system: {json.dumps(row['system'])}, id: {json.dumps(row['external_id'])}}}",
                {"system": row["system"], "id": row["external_id"]},
                SimpleNamespace(
                    system=sa.literal(row["system"]), id=sa.literal(row["external_id"]), channel_id=None
                ),
            )
            for row in rows
        ]

    def _texts(self, planned: Planned, name: str) -> list[str]:
        singular = name.removesuffix("s")
        rows = [entity.row for entity in self._all(planned)]
        for column in (singular, "number", "sku", "code", "name"):
            found = [row[column] for row in rows if isinstance(row.get(column), str)]
            if found:
                return found[::7][:6]
        return []

    def _all(self, planned: Planned) -> list[Entity]:
        return list(self._facts.entities[planned.name].values())


def _identity(planned: Planned) -> list[str]:
    """The columns that tell a row from the others."""
    primary = [str(column.key) for column in planned.table.primary_key]
    return primary if len(primary) > 1 else [planned.key]


def _key(values: Any) -> Any:
    return values[0] if len(values) == 1 else tuple(values)


def _inner(type_: Any) -> Any:
    return type_.of_type if isinstance(type_, GraphQLNonNull) else type_


def _values(read: Any, type_: Any, name: str, row: Row) -> list[Any]:
    """What a field's value is made of, as labelled columns."""
    match read:
        case ReadExpression():
            value = read.of(row)
            value = value.scalar_subquery() if isinstance(value, sa.Select) else value
            named = get_named_type(type_)
            if named.name == "JSON" or (
                isinstance(named, GraphQLEnumType) and not isinstance(_inner(type_), GraphQLList)
            ):
                value = sa.cast(value, sa.Text())
            return [sa.label(f"f_{name}", value)]
        case ReadMoney():
            return [
                sa.label(f"f_{name}.amount", read.amount(row)),
                sa.label(f"f_{name}.currency", sa.cast(read.currency(row), sa.Text())),
            ]
        case ReadEmbedded():
            return [sa.label(f"f_{name}", sa.cast(read.of(row), sa.Text()))]
        case ReadOneOf():
            return [sa.label(f"f_{name}.kind", read.kind(row)), sa.label(f"f_{name}.id", read.id(row))]
    return []
