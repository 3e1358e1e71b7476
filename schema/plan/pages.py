"""Connections: keyset pages, forwards and backwards, nested or at the root."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from graphql import FieldNode, GraphQLField, GraphQLNonNull

from schema.plan.arguments import Given, InputError, enum_text
from schema.plan.catalog import object_type
from schema.plan.cursors import beyond, cursor_of
from schema.plan.inputs import Where
from schema.plan.leaves import string_agg
from schema.plan.operation import DEFAULT_PAGE, LARGEST_PAGE
from schema.plan.reading import PLAN, Planned, ReadConnection, Row
from schema.plan.select import Compiler
from schema.plan.sqltext import LiteralText, Piece, as_text, columns_of, is_single

LARGEST_COUNT = 10_000


@dataclass(frozen=True, slots=True)
class _Order:
    """The sort of one page: its expressions over a row, the key last."""

    name: str
    columns: Callable[[Row], list[Any]]
    descending: bool

    def by(self, row: Row, *, reverse: bool) -> list[Any]:
        down = self.descending is not reverse
        return [column.desc() if down else column.asc() for column in self.columns(row)]


@dataclass(frozen=True, slots=True)
class _Window:
    """How many rows, from which side, between which cursors."""

    size: Any  # int, or a parameter
    backwards: bool
    after: Given | None
    before: Given | None


@dataclass(frozen=True, slots=True)
class _Merge:
    """A column and the array of values that it may have on a page: as the filter `where` says, or the caller's."""

    column: str
    values: Any
    where: Where | None = None


def connection(
    compiler: Compiler, field: GraphQLField, read: ReadConnection, nodes: list[FieldNode], parent: Row | None
) -> sa.ColumnElement[Any]:
    """SQL for the JSON object of a page; `parent` is None at the root."""
    type_ = object_type(field.type)
    arguments = compiler.arguments(field, nodes[0])
    collected = compiler.collector.below(type_, nodes)
    beside = any(merged[0].name.value == "pageInfo" for merged in collected.values())
    page = _Page(compiler, field, read, parent, arguments, tells_beside=beside)
    text = as_text(compiler.members(type_, collected, page.member))
    if not page.read_rows:
        return text
    page.fill(text)
    found = sa.select(text).select_from(page.row.source)
    if parent is not None:
        found = found.correlate(parent.source)
    return found.scalar_subquery()


class _Page:
    def __init__(
        self,
        compiler: Compiler,
        field: GraphQLField,
        read: ReadConnection,
        parent: Row | None,
        arguments: dict[str, Given],
        *,
        tells_beside: bool,
    ) -> None:
        """`tells_beside`: whether there are rows before and after the page is asked."""
        self._compiler = compiler
        self._tells_beside = tells_beside
        self._read = read
        self._parent = parent
        self._given = list(_filters(compiler, field, arguments))
        self._candidates = min(
            (where.candidates for where, _, _ in self._given if where.candidates), default=None
        )
        self._type, self._planned = compiler.catalog.planned(read.target)
        self._order = _order(read, self._planned, arguments)
        self._window = _window(compiler, arguments)
        self.read_rows = False

    @cached_property
    def _filters(self) -> list[tuple[Where, Any]]:
        bind = self._compiler.binder.bind
        return [(where, bind(given, type_, prefix=where.node)) for where, given, type_ in self._given]

    def _conditions(self, row: Row, *, merged: _Merge | None = None) -> list[Any]:
        read = self._read
        conditions: list[Any] = []
        if read.on is not None:
            conditions.append(read.on(self._parent, row))
        with_parent = read.on is not None and read.visible_with_parent
        conditions.append(self._compiler.visible(self._planned, row, with_parent=with_parent))
        for where, value in self._filters:
            if merged is None or where is not merged.where:
                conditions.append(self._condition_of(where)(row, value))
        return conditions

    def _condition_of(self, where: Where) -> Callable[[Any, Any], Any]:
        scoped = where.scope is None or where.scope in self._compiler.caller.scopes
        return where.condition if scoped or where.unscoped is None else where.unscoped

    @property
    def row(self) -> Row:
        """A row of the page; `fill` puts the page in its place."""
        self.read_rows = True
        return self._planned.row(self._source)

    @cached_property
    def _source(self) -> sa.Subquery:
        """Stands for the page until it is known which of its columns are read."""
        numbers = (sa.column(name, sa.Integer()) for name in ("page_place", "page_count"))
        return sa.select(self._planned.table, *numbers).subquery()

    def fill(self, text: sa.ColumnElement[Any]) -> None:
        """Only with what the page's text reads: each step of the plan would carry the rest along, as NULL."""
        read = columns_of(self._source, [text, *self._order.columns(self.row)])
        self._source.element = self._rows(read).element

    def _rows(self, read: set[str]) -> Any:
        """The page's rows; where more is told, one row more, and numbered from the side the page was asked from."""
        page = self._merged_page(read)
        if not self._tells_beside:
            return page
        ordered = self._order.by(self._planned.row(page), reverse=self._window.backwards)
        numbers = (
            sa.func.row_number().over(order_by=ordered).label("page_place"),
            sa.func.count().over().label("page_count"),
        )
        return sa.select(page, *(number for number in numbers if number.name in read)).subquery()

    def _merge(self) -> _Merge | None:
        """What the page is merged by: a column that has one of some values, and an index that serves each of them.

        `column = any(list)` is no prefix that an index could be read in order by; one value after the other is.
        """
        if self._parent is not None or self._candidates is not None:
            return None
        row = self._planned.row(self._planned.table)
        own = self._compiler.partition(self._planned)
        offered = [] if own is None else [_Merge(*own)]
        fixed = set()
        for where, value in self._filters:
            if where.each is not None:
                name = where.each(row).key
                if is_single(value):
                    fixed.add(name)
                else:
                    offered.append(_Merge(name, value, where))
        order = [getattr(column, "key", None) for column in self._order.columns(row)]
        served = [merge for merge in offered if _is_served(self._planned.table, merge.column, fixed, order)]
        return served[0] if served else None

    def _merged_page(self, read: set[str]) -> Any:
        """The page's rows, where possible merged from pages that an index serves."""
        merge = self._merge()
        if merge is None:
            return self._page(read).subquery()
        part = sa.select(sa.func.unnest(merge.values).label("value")).distinct().subquery()
        each = self._page(read, merge, part.c.value).correlate(part).lateral()
        row = self._planned.row(each)
        return (
            sa.select(each)
            .select_from(part.join(each, sa.true()))
            .order_by(*self._order.by(row, reverse=self._window.backwards))
            .limit(self._limit)
        ).subquery()

    @property
    def _limit(self) -> Any:
        """One row more than the page where it tells whether there is another page."""
        return self._window.size + 1 if self._tells_beside else self._window.size

    def _page(self, read: set[str], merge: _Merge | None = None, value: Any = None) -> Any:
        window, order = self._window, self._order
        inner = self._compiler.alias(self._planned)
        conditions = self._conditions(inner, merged=merge)
        if merge is not None:
            conditions.append(inner.source.c[merge.column] == value)
        if self._candidates is not None:
            # Before the cursors, so that every page is taken from the same rows.
            taken = self._below_parent(sa.select(inner.source).where(*conditions).limit(self._candidates))
            inner, conditions = self._planned.row(taken.subquery()), []
        for given, forwards in ((window.after, True), (window.before, False)):
            if given is not None and given.value is not None:
                greater = forwards is not order.descending
                columns = order.columns(inner)
                conditions.append(beyond(self._compiler.binder, order.name, columns, given, greater=greater))
        page: Any = (
            sa.select(*(column for column in inner.source.c if column.key in read))
            .where(*conditions)
            .order_by(*order.by(inner, reverse=window.backwards))
            .limit(self._limit)
        )
        return self._below_parent(page)

    def _below_parent(self, select: Any) -> Any:
        return select if self._parent is None else select.correlate(self._parent.source)

    def member(self, field: GraphQLField, nodes: list[FieldNode]) -> list[Piece]:
        match nodes[0].name.value:
            case "edges":
                return self._list(lambda: self._edge(field, nodes))
            case "nodes":
                return self._list(
                    lambda: as_text(self._compiler.object(self._type, self._planned, nodes, self.row))
                )
            case "pageInfo":
                return self._page_info(field, nodes)
            case _:
                return [self._total()]

    def _list(self, item: Callable[[], Any]) -> list[Piece]:
        if self._tells_beside:
            place = self.row.source.c.page_place
            order = [place.desc() if self._window.backwards else place]
            joined = string_agg(item(), order, only=place <= self._window.size)
        else:
            joined = string_agg(item(), self._order.by(self.row, reverse=False))
        return ["[", sa.func.coalesce(joined, LiteralText("")), "]"]

    def _edge(self, field: GraphQLField, nodes: list[FieldNode]) -> Any:
        type_ = object_type(field.type)

        def member(_: GraphQLField, merged: list[FieldNode]) -> list[Piece]:
            if merged[0].name.value == "cursor":
                return ['"', self._cursor(), '"']
            return self._compiler.object(self._type, self._planned, merged, self.row)

        return as_text(self._compiler.members(type_, self._compiler.collector.below(type_, nodes), member))

    def _cursor(self) -> Any:
        return cursor_of(self._order.name, self._order.columns(self.row))

    def _page_info(self, field: GraphQLField, nodes: list[FieldNode]) -> list[Piece]:
        type_ = object_type(field.type)
        window = self._window

        def edge_cursor(place: Any) -> Piece:
            here = self.row.source.c.page_place
            found = sa.func.max(self._cursor()).filter(here == place, here <= window.size)
            return sa.func.coalesce(as_text(['"', found, '"']), LiteralText("null"))

        def member(_: GraphQLField, merged: list[FieldNode]) -> list[Piece]:
            name = merged[0].name.value
            more = sa.cast(sa.func.count(self.row.source.c.page_place) > window.size, sa.Text())
            last = sa.func.least(self.row.source.c.page_count, window.size)
            match name:
                case "hasNextPage":
                    return [_given_text(window.before) if window.backwards else more]
                case "hasPreviousPage":
                    return [more if window.backwards else _given_text(window.after)]
                case "startCursor":
                    return [edge_cursor(last if window.backwards else sa.literal_column("1"))]
                case _:
                    return [edge_cursor(sa.literal_column("1") if window.backwards else last)]

        return self._compiler.members(type_, self._compiler.collector.below(type_, nodes), member)

    def _total(self) -> Any:
        row = self._compiler.alias(self._planned)
        found = self._below_parent(
            sa.select(sa.literal_column("1"))
            .select_from(row.source)
            .where(*self._conditions(row))
            .limit(LARGEST_COUNT if self._candidates is None else self._candidates)
        )
        counted = sa.select(sa.cast(sa.func.count(), sa.Text())).select_from(found.subquery())
        return self._below_parent(counted).scalar_subquery()


def _given_text(given: Given | None) -> Piece:
    """There is something on the other side of a cursor: the row the cursor was made of."""
    return "false" if given is None or given.value is None else "true"


def _order(read: ReadConnection, planned: Planned, arguments: dict[str, Given]) -> _Order:
    name, descending = read.sort.default, read.sort.descending
    chosen = arguments.get("sort")
    if chosen is not None and chosen.value is not None:
        name = enum_text(chosen.value)
    direction = arguments.get("direction")
    if direction is not None and direction.value is not None:
        descending = enum_text(direction.value) == "DESC"
    key = read.sort.keys[name]

    def columns(row: Row) -> list[Any]:
        own = list(key.columns(row))
        identity = row.source.c[planned.key]
        return own if any(column is identity for column in own) else [*own, identity]

    return _Order(name, columns, descending)


def _window(compiler: Compiler, arguments: dict[str, Given]) -> _Window:
    first, last = arguments.get("first"), arguments.get("last")
    first = None if first is None or first.value is None else first
    last = None if last is None or last.value is None else last
    if first is not None and last is not None:
        raise InputError("Give first or last, not both.")
    asked = first or last
    size: Any = DEFAULT_PAGE
    if asked is not None:
        size = _page_size(asked.value)
        if asked.fetch is not None and not compiler.binder.inline:
            size = compiler.binder.parameter(asked, sa.Integer(), _page_size)
    return _Window(size, last is not None, arguments.get("after"), arguments.get("before"))


def _page_size(value: Any) -> int:
    if not 0 <= value <= LARGEST_PAGE:
        raise InputError(f"A page holds 0 to {LARGEST_PAGE}; {value} were asked for.")
    return int(value)


def _filters(
    compiler: Compiler, field: GraphQLField, arguments: dict[str, Given]
) -> Iterator[tuple[Where, Given, Any]]:
    """The filter's fields that are given, with their values and GraphQL types; refuses those not allowed."""
    given = arguments.get("filter")
    if given is None or given.value is None:
        return
    type_: Any = field.args["filter"].type
    type_ = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
    for name, definition in type_.fields.items():
        member = given.fields.get(name)
        if member is not None and member.value is not None:
            where: Where = definition.extensions["strawberry-definition"].metadata[PLAN]
            if where.unscoped is None:
                compiler.demand(where.scope, f"{type_.name}.{name}")
            yield where, member, definition.type


def _is_served(table: Any, column: str, fixed: set[str], order: list[str | None]) -> bool:
    """Whether an index gives the rows with one value of `column`, and of others that are fixed, in this order."""
    for index in getattr(table, "indexes", ()):
        keys = [each.key for each in index.columns]
        begins, ends = set(keys[: -len(order)]), keys[-len(order) :]
        only = index.dialect_options["postgresql"]["where"]
        partial = only is not None and str(only) != f"{column} is not null"
        if ends == order and column in begins and begins <= {column, *fixed} and not partial:
            return True
    return False
