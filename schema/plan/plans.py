"""Plans: what an operation of one shape amounts to for one class of caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLField,
    OperationDefinitionNode,
    SelectionSetNode,
    execute_sync,
    get_named_type,
    is_abstract_type,
    is_composite_type,
)
from sqlalchemy.dialects.postgresql import ARRAY

from domain.access import VisibilityClass
from schema.plan.arguments import Binder, Fetch, Variables, argument_values
from schema.plan.catalog import Catalog, Predicate, object_type
from schema.plan.collect import Collector
from schema.plan.operation import Operation
from schema.plan.payloads import BrokenPromise, Rendering
from schema.plan.reading import Call
from schema.plan.select import BREAK, Compiler
from schema.plan.statements import KeyedStatement, Statement, key_type, keyed, keyed_statement, statement
from schema.plan.variables import variables_below

_BREAK = BREAK.encode()


@dataclass(frozen=True, slots=True)
class Cost:
    """What the operation was measured at, as `extensions.cost` shows it."""

    requested: int
    maximum: int
    depth: int

    def text(self) -> str:
        return f'{{"requested":{self.requested},"maximum":{self.maximum},"depth":{self.depth}}}'


@dataclass(frozen=True, slots=True)
class RootValue:
    """One scalar expression, the JSON text of a root field, and how its parameters are found."""

    value: sa.ColumnElement[Any]
    parameters: Mapping[str, Fetch]


@dataclass(slots=True)
class RootPlan:
    """One root field of a query. Exactly one of `alone`, `constant`, `failure`, `introspection` is set.

    A plan is kept, so it keeps text: SQLAlchemy's expressions of a selection are seventy times as large.
    `alone` reads this root field by itself, for when the statement of all of them fails.
    """

    key: str
    name: str
    nullable: bool
    alone: Statement | None = None
    broken: list[str] = field(default_factory=list)
    constant: str | None = None
    failure: GraphQLError | None = None
    introspection: list[FieldNode] | None = None

    @property
    def statement(self) -> Statement:
        """The statement of this root alone."""
        if self.alone is None:
            raise TypeError(f"{self.name} is not read by SQL")
        return self.alone

    def checked(self, text: bytes | None) -> bytes:
        """The finished JSON, or `BrokenPromise` for a null where the schema promises a value."""
        if text is None:
            if not self.nullable:
                raise BrokenPromise(self.name)
            return b"null"
        if _BREAK in text:
            raise BrokenPromise(self.broken[int(text.split(_BREAK, 2)[1])])
        return text


@dataclass(slots=True)
class QueryPlan:
    """All root fields of a query; `together` reads those that need SQL in one statement."""

    operation: Operation
    roots: tuple[RootPlan, ...]
    cost: Cost
    together: Statement | None

    @property
    def reading(self) -> list[RootPlan]:
        return [root for root in self.roots if root.alone is not None]


def together(values: Sequence[RootValue]) -> Statement:
    """One statement with a column for each root field: JSON in UTF-8, which is never made a string on its way out."""
    columns = [
        sa.func.convert_to(root.value, "UTF8").label(f"root{place}") for place, root in enumerate(values)
    ]
    return statement(sa.select(*columns), *(root.parameters for root in values))


def introspected(operation: Operation, nodes: list[FieldNode], values: Variables) -> Any:
    """What graphql-core answers to introspection fields alone: data and errors."""
    used = {name for node in nodes for name in variables_below(node, operation.fragments)}
    definition = OperationDefinitionNode(
        operation=operation.kind,
        variable_definitions=tuple(
            variable
            for variable in operation.definition.variable_definitions or ()
            if variable.variable.name.value in used
        ),
        selection_set=SelectionSetNode(selections=tuple(nodes)),
    )
    document = DocumentNode(definitions=(definition, *operation.fragments.values()))
    return execute_sync(
        operation.schema, document, variable_values={name: values[name] for name in used if name in values}
    )


@dataclass(slots=True)
class CallPlan:
    """One root field of a mutation, or the one of a subscription."""

    key: str
    name: str
    field: GraphQLField
    nodes: list[FieldNode]
    call: Call

    def arguments(self, values: Variables) -> dict[str, Any]:
        """Coerced, by GraphQL names."""
        return argument_values(self.field, self.nodes[0], values)


Selection = tuple[str, tuple[int, ...]]
"""A type's name and the field nodes selected on it: what one statement reads."""


class Entities:
    """The statements that read a payload's or an event's entities, made when first needed and kept."""

    def __init__(
        self,
        catalog: Catalog,
        predicate: Predicate,
        caller: VisibilityClass,
        collector: Collector,
        values: Variables,
        *,
        inline: bool,
    ) -> None:
        self._catalog = catalog
        self._predicate = predicate
        self._caller = caller
        self.collector = collector
        self._values = values
        self._inline = inline
        self._known: dict[Selection, KeyedStatement] = {}
        self._streams: dict[Selection, Statement] = {}
        self._broken: dict[Selection, list[str]] = {}

    def rendering(self) -> Rendering:
        return Rendering(self._catalog, self.collector)

    def prepare(self, type_: Any, nodes: list[FieldNode]) -> None:
        """Make the statements of all that a payload of this type may show.

        Before anything is written: raises `RequestError` for what the caller may not read, `InputError` for
        arguments that cannot be used.
        """
        shown = get_named_type(type_)
        if not is_composite_type(shown):
            return
        schema = self._catalog.schema
        for member in schema.get_possible_types(shown) if is_abstract_type(shown) else [object_type(shown)]:
            planned = self._catalog.by_graphql.get(member.name)
            if planned is not None:
                self.statement((planned.name, tuple(id(node) for node in nodes)), nodes)
                continue
            for merged in self.collector.below(member, nodes).values():
                name = merged[0].name.value
                if name != "__typename":
                    self.prepare(member.fields[name].type, merged)

    def check_values(self, values: Variables) -> None:
        """Raises `InputError` for variables that the prepared statements cannot use."""
        for made in self._known.values():
            made.values(values)

    def statement(self, selection: Selection, nodes: list[FieldNode]) -> KeyedStatement:
        """Reads these entities of a payload, by their ids."""
        if selection not in self._known:
            key = self._catalog.planned(selection[0])[1].key
            self._known[selection] = keyed_statement(*self._keyed(selection, nodes, key))
        return self._known[selection]

    def stream(self, selection: Selection, nodes: list[FieldNode]) -> Statement:
        """Rows of (key, text) for the keys, as a subscription's source tells them, given as the parameter `keys`."""
        if selection not in self._streams:
            planned = self._catalog.planned(selection[0])[1]
            key = planned.stream_key or planned.key
            self._streams[selection] = statement(*self._keyed(selection, nodes, key))
        return self._streams[selection]

    def _keyed(
        self, selection: Selection, nodes: list[FieldNode], key: str
    ) -> tuple[sa.Select[Any], Mapping[str, Fetch]]:
        name = selection[0]
        binder = Binder("v", inline=self._inline)
        compiler = Compiler(
            self._catalog, self._predicate, self._caller, self.collector, self._values, binder
        )
        keys = sa.bindparam("keys", type_=ARRAY(key_type(self._catalog.planned(name)[1], key)))
        select = keyed(compiler, name, nodes, keys, key)
        self._broken[selection] = compiler.broken
        return select, binder.parameters

    def check(self, selection: Selection, texts: Mapping[Any, str]) -> None:
        """Raises `BrokenPromise` when one of the texts holds a null that the schema does not allow."""
        for text in texts.values():
            if BREAK in text:
                raise BrokenPromise(self._broken[selection][int(text.split(BREAK, 2)[1])])


@dataclass(slots=True)
class MutationPlan:
    operation: Operation
    calls: tuple[CallPlan | RootPlan, ...]
    cost: Cost
    entities: Entities
