"""Root fields as SQL, and statements that know where each request's parameters come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from graphql import FieldNode, GraphQLField, GraphQLInputType, GraphQLList, GraphQLNonNull
from sqlalchemy.dialects.postgresql import ARRAY

from schema.plan.arguments import Binder, Fetch, Given, InputError, Variables, key_of
from schema.plan.leaves import leaf, string_agg
from schema.plan.operation import LARGEST_PAGE
from schema.plan.pages import connection
from schema.plan.reading import (
    Planned,
    ReadConnection,
    ReadNode,
    ReadRootExpression,
    ReadRootMany,
    ReadRootOne,
)
from schema.plan.roots import GlobalId
from schema.plan.select import Compiler
from schema.plan.sqltext import LiteralText, as_text, compiled, compiled_for_callers


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text, and for each parameter in order how to find its value."""

    sql: str
    parameters: tuple[tuple[Fetch | None, str], ...]  # from the variables, else the principal's by name

    def values(self, variables: Variables, principal: Mapping[str, Any]) -> list[Any]:
        """Raises `InputError` for a value that cannot be used."""
        return [principal[name] if fetch is None else fetch(variables) for fetch, name in self.parameters]


def statement(select: sa.Select[Any], *parameters: Mapping[str, Fetch]) -> Statement:
    """Compile; what the binders do not know by name is the principal's."""
    sql, names = compiled(select)
    known: dict[str, Fetch] = {}
    for group in parameters:
        known.update(group)
    return Statement(sql, tuple((known.get(name), name) for name in names))


@dataclass(frozen=True, slots=True)
class KeyedStatement:
    """SQL of rows by key, for many callers at once; `db.keyed_reads` runs it.

    A row is the place of a caller, the key and the JSON text, and is there if that caller may see it: what bounds
    the callers are no parameters but columns. The operation's variables are parameters, the same for all of them.
    """

    sql: str
    fetches: tuple[Fetch, ...]
    bounds: tuple[str, ...]

    def values(self, variables: Variables) -> list[Any]:
        """Raises `InputError` for a value that cannot be used."""
        return [fetch(variables) for fetch in self.fetches]

    def bounds_of(self, principal: Mapping[str, Any]) -> dict[str, Any]:
        """The caller's values that decide what it sees of these rows."""
        return {name: principal[name] for name in self.bounds}


def keyed_statement(select: sa.Select[Any], parameters: Mapping[str, Fetch]) -> KeyedStatement:
    """Compile; what the binder does not know by name is each caller's."""
    sql, names, of_caller = compiled_for_callers(select, parameters)
    bounds = tuple(name for name in of_caller if name != "keys")
    return KeyedStatement(sql, tuple(parameters[name] for name in names), bounds)


def root_value(compiler: Compiler, field: GraphQLField, nodes: list[FieldNode]) -> sa.ColumnElement[Any]:
    """One scalar expression: the JSON text of a root field, NULL for null."""
    read = compiler.catalog.read(field)
    name = nodes[0].name.value
    match read:
        case ReadRootOne():
            compiler.demand(read.scope, name)
            return _root_one(compiler, field, read, nodes)
        case ReadConnection():
            compiler.demand(read.scope, name)
            return connection(compiler, field, read, nodes, None)
        case ReadRootMany():
            compiler.demand(read.scope, name)
            return _root_many(compiler, field, read, nodes)
        case ReadRootExpression():
            compiler.demand(read.scope, name)
            return leaf(field.type, read.of())
        case ReadNode(many=False):
            return _node(compiler, compiler.arguments(field, nodes[0])["id"], nodes)
        case ReadNode(many=True):
            return _nodes(compiler, compiler.arguments(field, nodes[0])["ids"], nodes)
    raise TypeError(f"the root field {name} does not say how it is read")


def _bound(
    compiler: Compiler, kind: Any, given: Given, type_: GraphQLInputType, own_prefix: str | None
) -> Any:
    if not isinstance(kind, GlobalId):
        return compiler.binder.bind(given, type_)
    prefix = kind.prefix or own_prefix
    if prefix is None:
        raise TypeError("by_id() needs a type with node=")
    return compiler.binder.bind(given, type_, prefix=prefix)


def _root_one(
    compiler: Compiler, field: GraphQLField, read: ReadRootOne, nodes: list[FieldNode]
) -> sa.ColumnElement[Any]:
    given = {
        name: value for name, value in compiler.arguments(field, nodes[0]).items() if value.value is not None
    }
    python_names = {_argument_name(field, name): name for name in field.args}
    present = {python for python, name in python_names.items() if name in given}
    chosen = [group for group in read.by if set(group.arguments) == present]
    if len(chosen) != 1:
        ways = "; or ".join(" and ".join(python_names[name] for name in group.arguments) for group in read.by)
        raise InputError(f"{nodes[0].name.value} takes exactly one of: {ways}.")
    group = chosen[0]
    type_, planned, row = compiler.target(read.target)
    bound = [
        _bound(compiler, kind, given[python_names[name]], field.args[python_names[name]].type, planned.node)
        for name, kind in group.arguments.items()
    ]
    found = (
        sa.select(as_text(compiler.object(type_, planned, nodes, row)))
        .select_from(row.source)
        .where(group.condition(row, *bound), compiler.visible(planned, row, with_parent=False))
    )
    return found.scalar_subquery()


def _argument_name(field: GraphQLField, name: str) -> str:
    definition = field.args[name].extensions.get("strawberry-definition")
    return str(definition.python_name) if definition is not None else name


def _root_many(
    compiler: Compiler, field: GraphQLField, read: ReadRootMany, nodes: list[FieldNode]
) -> sa.ColumnElement[Any]:
    given = compiler.arguments(field, nodes[0])
    type_, planned = compiler.catalog.planned(read.target)
    bound: dict[str, Any] = {}
    for name, argument in field.args.items():
        python_name = _argument_name(field, name)
        value = given.get(name)
        bound[python_name] = (
            None
            if value is None or value.value is None
            else _bound(compiler, read.arguments[python_name], value, argument.type, planned.node)
        )
    arguments = SimpleNamespace(**bound)
    if read.source is None:
        row = compiler.alias(planned)
    else:
        row = planned.row(read.source(arguments).subquery(planned.table_name))
    conditions = [] if read.condition is None else [read.condition(row, arguments)]
    if read.visible:
        conditions.append(compiler.visible(planned, row, with_parent=False))
    if read.limit is not None:
        first = sa.select(row.source).where(*conditions).order_by(*_order_of(read, planned, row))
        row = planned.row(first.limit(read.limit(arguments)).subquery())
        conditions = []
    text = as_text(compiler.object(type_, planned, nodes, row))
    found = sa.select(string_agg(text, _order_of(read, planned, row))).select_from(row.source)
    found = found.where(*conditions)
    return as_text(["[", sa.func.coalesce(found.scalar_subquery(), LiteralText("")), "]"])


def _order_of(read: ReadRootMany, planned: Planned, row: Any) -> list[Any]:
    return list(read.order_by(row)) if read.order_by else [row.source.c[planned.key]]


def _of_prefix(compiler: Compiler, value: Any) -> str:
    """The name of the type that a global id names; asks for the scope that reading it takes."""
    prefix = value.partition("_")[0] if isinstance(value, str) else ""
    name = compiler.catalog.nodes.get(prefix)
    if name is None:
        raise InputError(f"{str(value)[:80]!r} is not an id that this API gave.")
    scope = compiler.catalog.node_scopes[name]
    if scope is None:
        raise TypeError(f"{name} has global ids but no scope: give planned(…, scope=…) or a root field")
    compiler.demand(scope, name)
    return name


def _node(compiler: Compiler, given: Given, nodes: list[FieldNode]) -> sa.ColumnElement[Any]:
    type_, planned, row = compiler.target(_of_prefix(compiler, given.value))
    key = compiler.binder.parameter(given, sa.Uuid(), key_of(str(planned.node)))
    found = (
        sa.select(as_text(compiler.object(type_, planned, nodes, row)))
        .select_from(row.source)
        .where(row.source.c[planned.key] == key, compiler.visible(planned, row, with_parent=False))
    )
    return found.scalar_subquery()


def _nodes(compiler: Compiler, given: Given, nodes: list[FieldNode]) -> sa.ColumnElement[Any]:
    """Each type's rows by their ids, put back into the order of the ids."""
    _bounded(given.value)
    names = list(dict.fromkeys(_of_prefix(compiler, value) for value in given.value))
    count = compiler.binder.parameter(given, sa.Integer(), lambda ids: len(_bounded(ids)))
    parts = []
    for name in names:
        type_, planned, row = compiler.target(name)
        wanted = _wanted(compiler.binder, given, planned)
        parts.append(
            sa.select(
                wanted.c.place.label("place"),
                as_text(compiler.object(type_, planned, nodes, row)).label("text"),
            )
            .select_from(wanted.join(row.source, row.source.c[planned.key] == wanted.c.key))
            .where(compiler.visible(planned, row, with_parent=False))
        )
    if not parts:
        return LiteralText("[]")
    found = (sa.union_all(*parts) if len(parts) > 1 else parts[0]).subquery()
    places = sa.func.generate_series(1, count).table_valued(sa.column("place", sa.Integer())).render_derived()
    shown = sa.func.coalesce(found.c.text, LiteralText("null"))
    joined = sa.select(string_agg(shown, [places.c.place])).select_from(
        places.outerjoin(found, found.c.place == places.c.place)
    )
    return as_text(["[", sa.func.coalesce(joined.scalar_subquery(), LiteralText("")), "]"])


def _bounded(ids: Sequence[Any]) -> Sequence[Any]:
    if len(ids) > LARGEST_PAGE:
        raise InputError(f"At most {LARGEST_PAGE} ids; {len(ids)} were given.")
    return ids


def _wanted(binder: Binder, given: Given, planned: Planned) -> Any:
    """The places and keys of the ids of one type."""
    start, parse = f"{planned.node}_", key_of(str(planned.node))

    def chosen(ids: Sequence[Any]) -> list[tuple[int, Any]]:
        return [(place, parse(id)) for place, id in enumerate(ids, 1) if str(id).startswith(start)]

    places = binder.parameter(given, ARRAY(sa.Integer()), lambda ids: [place for place, _ in chosen(ids)])
    keys = binder.parameter(given, ARRAY(sa.Uuid()), lambda ids: [key for _, key in chosen(ids)])
    return (
        sa.func.unnest(places, keys)
        .table_valued(sa.column("place", sa.Integer()), sa.column("key", sa.Uuid()))
        .render_derived()
    )


def keyed(
    compiler: Compiler, name: str, nodes: list[FieldNode], keys: sa.ColumnElement[Any], by: str
) -> sa.Select[Any]:
    """Rows of (key, JSON text) of one type, for keys, of the column `by`, that something else found."""
    type_, planned, row = compiler.target(name)
    key = row.source.c[by]
    return (
        sa.select(key, as_text(compiler.object(type_, planned, nodes, row)))
        .select_from(row.source)
        .where(key == sa.any_(keys), compiler.visible(planned, row, with_parent=False))
    )


def key_type(planned: Planned, key: str) -> Any:
    return sa.BigInteger() if isinstance(planned.table.c[key].type, sa.Integer) else sa.Uuid()


def is_nullable(type_: Any) -> bool:
    return not isinstance(type_, GraphQLNonNull)


def is_list(type_: Any) -> bool:
    return isinstance(type_.of_type if isinstance(type_, GraphQLNonNull) else type_, GraphQLList)
