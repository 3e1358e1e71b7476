"""What the compiler knows of a schema: which table each object type is read from, and who has which id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import sqlalchemy as sa
import strawberry
from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
)
from strawberry.types.base import StrawberryObjectDefinition

from domain.access import Principal, Scope, VisibilityClass
from schema.plan.declare import planned_of
from schema.plan.errors import domain_class_of
from schema.plan.limits import definition_of
from schema.plan.reading import (
    Planned,
    Read,
    ReadConnection,
    ReadMany,
    ReadOne,
    ReadOneOf,
    ReadRootMany,
    ReadRootOne,
    read_of,
)

_RELATIONS = (ReadOne, ReadMany, ReadConnection, ReadRootOne, ReadRootMany, ReadOneOf)


class Predicate(Protocol):
    """The condition under which a caller of this class may see `row`, an alias of `table`.

    Raises LookupError for a table without a rule. `through_parent`: the row is
    reached by its foreign key through a parent that the caller sees.
    """

    def __call__(
        self, table: str, row: sa.FromClause, caller: VisibilityClass, *, through_parent: bool = False
    ) -> sa.ColumnElement[bool]: ...


class Partition(Protocol):
    """The column whose listed values bound what a caller of this class sees of `table`, with that list.

    A page is then merged from one page for each value, which an index that begins with
    the column serves. It narrows nothing: the predicate stands beside it.
    """

    def __call__(self, table: str, caller: VisibilityClass) -> tuple[str, sa.ColumnElement[Any]] | None: ...


class PrincipalValues(Protocol):
    """The value of every parameter that predicates use, for one principal."""

    def __call__(self, principal: Principal) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Catalog:
    """The planned types of one schema."""

    schema: GraphQLSchema
    strawberry: strawberry.Schema
    types: Mapping[str, tuple[GraphQLObjectType, Planned]]  # by Python class name
    by_graphql: Mapping[str, Planned]  # by GraphQL type name
    nodes: Mapping[str, str]  # id prefix -> Python class name
    node_scopes: Mapping[str, Scope | None]  # Python class name -> what node(id) demands
    errors: Mapping[type, str]  # domain error class -> GraphQL type name

    def planned(self, name: str) -> tuple[GraphQLObjectType, Planned]:
        try:
            return self.types[name]
        except KeyError:
            raise LookupError(f"{name} is not a planned type of this schema") from None

    def read(self, field: GraphQLField) -> Read | None:
        return read_of(definition_of(field))


def object_type(type_: Any) -> GraphQLObjectType:
    """The object type under lists and non-nulls, where the declaration leaves no other possibility."""
    return cast("GraphQLObjectType", get_named_type(type_))


def origin_of(type_: Any) -> Any:
    definition = type_.extensions.get("strawberry-definition")
    return definition.origin if isinstance(definition, StrawberryObjectDefinition) else None


def catalog_of(schema: strawberry.Schema) -> Catalog:
    """Read the declarations; raises TypeError where they contradict each other."""
    core: GraphQLSchema = schema._schema
    types: dict[str, tuple[GraphQLObjectType, Planned]] = {}
    by_graphql: dict[str, Planned] = {}
    nodes: dict[str, str] = {}
    errors: dict[type, str] = {}
    for type_ in core.type_map.values():
        if not isinstance(type_, GraphQLObjectType):
            continue
        origin = origin_of(type_)
        planned = planned_of(origin)
        if planned is not None:
            types[planned.name] = (type_, planned)
            by_graphql[type_.name] = planned
            if planned.node is not None:
                if planned.node in nodes:
                    other = nodes[planned.node]
                    raise TypeError(f"{planned.name} and {other} share the id prefix {planned.node}")
                nodes[planned.node] = planned.name
        domain_class = domain_class_of(origin)
        if domain_class is not None:
            errors[domain_class] = type_.name
    _check(core, types, by_graphql)
    scopes = {name: planned.scope or _root_scope(core, name) for name, (_, planned) in types.items()}
    return Catalog(core, schema, types, by_graphql, nodes, scopes, errors)


def _root_scope(schema: GraphQLSchema, name: str) -> Scope | None:
    for field in schema.query_type.fields.values() if schema.query_type else ():
        read = read_of(definition_of(field))
        if isinstance(read, ReadRootOne | ReadConnection | ReadRootMany) and read.target == name:
            return read.scope
    return None


def _check(
    schema: GraphQLSchema,
    types: Mapping[str, tuple[GraphQLObjectType, Planned]],
    by_graphql: Mapping[str, Planned],
) -> None:
    """Every relation names a planned type, the same one that its GraphQL type shows."""
    for type_ in schema.type_map.values():
        if not isinstance(type_, GraphQLObjectType):
            continue
        for field_name, field in type_.fields.items():
            read = read_of(definition_of(field))
            if not isinstance(read, _RELATIONS):
                continue
            names = list(read.targets.values()) if isinstance(read, ReadOneOf) else [read.target]
            shown = _shown(field)
            for name in names:
                if name not in types:
                    raise TypeError(f"{type_.name}.{field_name} reads {name}, which is no planned type here")
                target = types[name][0]
                fits = shown is target or (
                    isinstance(shown, GraphQLInterfaceType | GraphQLUnionType)
                    and schema.is_sub_type(shown, target)
                )
                if not fits:
                    raise TypeError(f"{type_.name}.{field_name} reads {name} but is of type {field.type}")


def _shown(field: GraphQLField) -> Any:
    named = get_named_type(field.type)
    if isinstance(read_of(definition_of(field)), ReadConnection) and isinstance(named, GraphQLObjectType):
        return get_named_type(named.fields["nodes"].type)
    return named
