"""Objects and their relations: from a selection over rows to the SQL of its JSON text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import sqlalchemy as sa
from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    get_named_type,
)
from sqlalchemy.dialects.postgresql import JSONB

from domain.access import Scope, VisibilityClass
from schema.plan.arguments import Binder, Given, given_arguments
from schema.plan.catalog import Catalog, Partition, Predicate, object_type
from schema.plan.collect import Collected, Collector
from schema.plan.leaves import amount, leaf, or_null, string_agg
from schema.plan.operation import refuse
from schema.plan.reading import (
    Planned,
    Read,
    ReadConnection,
    ReadEmbedded,
    ReadExpression,
    ReadId,
    ReadMany,
    ReadMoney,
    ReadOne,
    ReadOneOf,
    Row,
)
from schema.plan.sqltext import LiteralText, Piece, as_text

BREAK = "\x01"
"""Marks a NULL where the schema promises a value. JSON text never holds a raw control character,
so one search of the answer finds every broken promise before anything is sent."""


class Compiler:
    """Makes the SQL of one root field, for one class of caller and one shape of variables."""

    def __init__(
        self,
        catalog: Catalog,
        predicate: Predicate,
        caller: VisibilityClass,
        collector: Collector,
        variables: Mapping[str, Any],
        binder: Binder,
        *,
        partition: Partition | None = None,
    ) -> None:
        self.catalog = catalog
        self.caller = caller
        self.collector = collector
        self.binder = binder
        self.broken: list[str] = []
        self._predicate = predicate
        self._partition = partition
        self._variables = variables

    # What a caller may do and see.

    def demand(self, scope: Scope | None, what: str) -> None:
        """Refuse the whole operation when the caller lacks a scope that it needs."""
        if scope is not None and scope not in self.caller.scopes:
            raise refuse(f"{what} needs the scope {scope.value}.", "FORBIDDEN")

    def visible(self, planned: Planned, row: Row, *, with_parent: bool) -> sa.ColumnElement[bool]:
        return self._predicate(planned.table_name, row.source, self.caller, through_parent=with_parent)

    def partition(self, planned: Planned) -> tuple[str, sa.ColumnElement[Any]] | None:
        """The column that this caller's rows are bounded by, and the array of its values."""
        return self._partition(planned.table_name, self.caller) if self._partition else None

    def arguments(self, field: GraphQLField, node: FieldNode) -> dict[str, Given]:
        return given_arguments(field, node, self._variables)

    def alias(self, planned: Planned) -> Row:
        return planned.row(planned.table.alias())

    # Rendering.

    def object(
        self, type_: GraphQLObjectType, planned: Planned, nodes: list[FieldNode], row: Row
    ) -> list[Piece]:
        """The pieces of one row's JSON object."""
        return self.members(
            type_,
            self.collector.below(type_, nodes),
            lambda field, merged: self.field(type_, planned, field, merged, row),
        )

    def members(self, type_: GraphQLObjectType, collected: Collected, render: Any) -> list[Piece]:
        """`{"name":value,…}`, with `render(field, nodes)` giving the pieces of each value."""
        pieces: list[Piece] = []
        lead = "{"
        for name, nodes in collected.items():
            pieces.append(f'{lead}"{name}":')
            lead = ","
            field_name = nodes[0].name.value
            if field_name == "__typename":
                pieces.append(f'"{type_.name}"')
            else:
                pieces.extend(render(type_.fields[field_name], nodes))
        pieces.append("}" if collected else "{}")
        return pieces

    def field(
        self,
        type_: GraphQLObjectType,
        planned: Planned,
        field: GraphQLField,
        nodes: list[FieldNode],
        row: Row,
    ) -> list[Piece]:
        name = f"{type_.name}.{nodes[0].name.value}"
        read = self.catalog.read(field)
        if read is None:
            raise TypeError(f"{name} does not say how it is read")
        self.demand(read.scope, name)
        match read:
            case ReadExpression():
                return [self._leaf(name, field, read.of(row), nullable=read.nullable)]
            case ReadId():
                return [self.global_id(planned, row)]
            case ReadConnection():
                from schema.plan.pages import connection  # noqa: PLC0415 - pages and rows contain each other

                return [connection(self, field, read, nodes, row)]
            case ReadMany():
                return [self.many(read, nodes, row)]
            case ReadMoney(nullable=False):
                return self._amount(field, read, nodes, row)
            case _:
                return [self._promised(name, field, self._nullable(field, read, nodes, row))]

    def _nullable(
        self, field: GraphQLField, read: Read, nodes: list[FieldNode], row: Row
    ) -> sa.ColumnElement[Any]:
        """SQL that is NULL where the field is null."""
        match read:
            case ReadOne():
                return self.one(read, nodes, row)
            case ReadOneOf():
                return self._one_of(read, nodes, row)
            case ReadMoney():
                return self._money(field, read, nodes, row)
            case ReadEmbedded():
                return self._embedded(field.type, nodes, sa.cast(read.of(row), JSONB()))
        raise TypeError(f"{type(read).__name__} is not how a row's field is read")

    def global_id(self, planned: Planned, row: Row) -> sa.ColumnElement[Any]:
        key = row.source.c[planned.key]
        return as_text([f'"{planned.node}_', sa.cast(key, sa.Text()), '"'])

    def _leaf(self, name: str, field: GraphQLField, value: Any, *, nullable: bool) -> sa.ColumnElement[Any]:
        if isinstance(value, sa.Select):
            value = value.scalar_subquery()
        text = leaf(field.type, value)
        if isinstance(field.type, GraphQLNonNull) and not nullable:
            return text
        return self._promised(name, field, text)

    def _promised(self, name: str, field: GraphQLField, text: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Null where the type allows it, else the mark of a broken promise."""
        if not isinstance(field.type, GraphQLNonNull):
            return or_null(text)
        return sa.func.coalesce(text, LiteralText(self.broken_promise(name)))

    def broken_promise(self, name: str) -> str:
        if name not in self.broken:
            self.broken.append(name)
        return f"{BREAK}{self.broken.index(name)}{BREAK}"

    def target(self, name: str) -> tuple[GraphQLObjectType, Planned, Row]:
        type_, planned = self.catalog.planned(name)
        return type_, planned, self.alias(planned)

    def one(self, read: ReadOne, nodes: list[FieldNode], row: Row) -> sa.ColumnElement[Any]:
        type_, planned, target = self.target(read.target)
        found = (
            sa.select(as_text(self.object(type_, planned, nodes, target)))
            .select_from(target.source)
            .where(read.on(row, target), self.visible(planned, target, with_parent=read.visible_with_parent))
        )
        return found.correlate(row.source).scalar_subquery()

    def _one_of(self, read: ReadOneOf, nodes: list[FieldNode], row: Row) -> sa.ColumnElement[Any]:
        branches = []
        for value, name in read.targets.items():
            key = self.catalog.planned(name)[1].key
            reached = ReadOne(
                target=name,
                on=partial(_by_key, key, read.id),
                visible_with_parent=read.visible_with_parent,
            )
            branches.append((read.kind(row) == value, self.one(reached, nodes, row)))
        return sa.case(*branches)

    def many(self, read: ReadMany, nodes: list[FieldNode], row: Row) -> sa.ColumnElement[Any]:
        type_, planned, target = self.target(read.target)
        text = as_text(self.object(type_, planned, nodes, target))
        found = (
            sa.select(string_agg(text, list(read.order_by(target))))
            .select_from(target.source)
            .where(read.on(row, target), self.visible(planned, target, with_parent=read.visible_with_parent))
        )
        joined = sa.func.coalesce(found.correlate(row.source).scalar_subquery(), LiteralText(""))
        return as_text(["[", joined, "]"])

    def _money(
        self, field: GraphQLField, read: ReadMoney, nodes: list[FieldNode], row: Row
    ) -> sa.ColumnElement[Any]:
        return sa.case((read.amount(row).is_not(None), as_text(self._amount(field, read, nodes, row))))

    def _amount(self, field: GraphQLField, read: ReadMoney, nodes: list[FieldNode], row: Row) -> list[Piece]:
        type_ = object_type(field.type)
        rendered: dict[str, Any] = {
            "amount": lambda: amount(read.amount(row), read.currency(row)),
            "currencyCode": lambda: as_text(['"', sa.cast(read.currency(row), sa.Text()), '"']),
        }
        return self.members(
            type_,
            self.collector.below(type_, nodes),
            lambda _, merged: [rendered[merged[0].name.value]()],
        )

    def _embedded(self, type_: Any, nodes: list[FieldNode], value: Any) -> sa.ColumnElement[Any]:
        """A jsonb value shown as an object or as a list of objects; anything else in it is null."""
        if isinstance(type_, GraphQLNonNull):
            return self._embedded(type_.of_type, nodes, value)
        if isinstance(type_, GraphQLList):
            entries = sa.func.jsonb_array_elements(value).table_valued(
                sa.column("entry", JSONB()), with_ordinality="place"
            )
            entries = entries.render_derived()
            rendered = or_null(self._embedded(type_.of_type, nodes, entries.c.entry))
            joined = sa.select(
                sa.func.coalesce(string_agg(rendered, [entries.c.place]), LiteralText(""))
            ).select_from(entries)
            shown = as_text(["[", joined.scalar_subquery(), "]"])
            return sa.case((sa.func.jsonb_typeof(value) == "array", shown))
        type_ = object_type(type_)
        text = as_text(
            self.members(
                type_,
                self.collector.below(type_, nodes),
                lambda field, merged: [self._embedded_member(type_, field, merged, value)],
            )
        )
        return sa.case((sa.func.jsonb_typeof(value) == "object", text))

    def _embedded_member(
        self, type_: GraphQLObjectType, field: GraphQLField, nodes: list[FieldNode], value: Any
    ) -> sa.ColumnElement[Any]:
        name = f"{type_.name}.{nodes[0].name.value}"
        key = field.extensions["strawberry-definition"].python_name
        member = value[key]
        if isinstance(get_named_type(field.type), GraphQLObjectType):
            return self._promised(name, field, self._embedded(field.type, nodes, member))
        return self._promised(name, field, sa.func.nullif(sa.cast(member, sa.Text()), sa.literal("null")))


def _by_key(key: str, of_parent: Callable[[Any], Any], parent: Row, target: Row) -> Any:
    return target.source.c[key] == of_parent(parent)
