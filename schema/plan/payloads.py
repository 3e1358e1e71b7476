"""Payloads: Python objects rendered to JSON, with the entities in them read by plans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import (
    FieldNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    is_abstract_type,
)

from domain.errors import UserError
from schema.plan.catalog import Catalog
from schema.plan.collect import Collector
from schema.plan.declare import Ref
from schema.plan.limits import definition_of


class BrokenPromise(Exception):
    """A null where the schema promises a value; names the field."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A payload of nothing but user errors."""

    errors: tuple[UserError, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """An entity in a payload: which selection of which type, which row, and whether null may stand for it."""

    selection: tuple[str, tuple[int, ...]]
    key: Any
    promised_by: str | None


Part = str | Wanted


class Rendering:
    """The parts of one payload and, by selection, the field nodes that its entities are read with."""

    def __init__(self, catalog: Catalog, collector: Collector) -> None:
        self._catalog = catalog
        self._collector = collector
        self.parts: list[Part] = []
        self.selections: dict[tuple[str, tuple[int, ...]], list[FieldNode]] = {}

    def value(self, type_: Any, nodes: list[FieldNode], value: Any, name: str) -> None:
        """Append the JSON of `value`; raises `BrokenPromise` for a null that the type does not allow."""
        promised = isinstance(type_, GraphQLNonNull)
        inner = type_.of_type if promised else type_
        if value is None:
            if promised:
                raise BrokenPromise(name)
            self.parts.append("null")
        elif isinstance(inner, GraphQLList):
            self._items(inner, nodes, value, name)
        elif isinstance(value, Ref):
            self._entity(value, nodes, name if promised else None)
        elif isinstance(inner, GraphQLEnumType | GraphQLScalarType):
            self.parts.append(_leaf_text(inner, value))
        else:
            self._object(self._runtime_type(inner, value), nodes, value)

    def _items(
        self, type_: GraphQLList[Any], nodes: list[FieldNode], values: Iterable[Any], name: str
    ) -> None:
        lead = "["
        for item in values:
            self.parts.append(lead)
            lead = ","
            self.value(type_.of_type, nodes, item, name)
        self.parts.append("[]" if lead == "[" else "]")

    def _entity(self, ref: Ref, nodes: list[FieldNode], promised_by: str | None) -> None:
        selection = (ref.type_name, tuple(id(node) for node in nodes))
        self.selections.setdefault(selection, nodes)
        self.parts.append(Wanted(selection, ref.id, promised_by))

    def _runtime_type(self, type_: Any, value: Any) -> GraphQLObjectType:
        if isinstance(type_, GraphQLObjectType):
            return type_
        name = self._catalog.errors.get(type(value))
        definition = getattr(type(value), "__strawberry_definition__", None)
        if name is None and definition is not None:
            name = definition.name
        found = self._catalog.schema.type_map.get(name or "")
        if not isinstance(found, GraphQLObjectType) or not (
            is_abstract_type(type_) and self._catalog.schema.is_sub_type(type_, found)
        ):
            raise TypeError(f"{type(value).__name__} is no member of {type_}: declare it with error_type")
        return found

    def _object(self, type_: GraphQLObjectType, nodes: list[FieldNode], value: Any) -> None:
        lead = "{"
        for name, merged in self._collector.below(type_, nodes).items():
            self.parts.append(f'{lead}"{name}":')
            lead = ","
            field_name = merged[0].name.value
            if field_name == "__typename":
                self.parts.append(f'"{type_.name}"')
                continue
            field = type_.fields[field_name]
            self.value(field.type, merged, _attribute(field, value), f"{type_.name}.{field_name}")
        self.parts.append("{}" if lead == "{" else "}")

    def text(self, found: Mapping[tuple[str, tuple[int, ...]], Mapping[Any, str]]) -> str:
        """The whole payload, once its entities are read."""
        return "".join(part if isinstance(part, str) else _entity_text(part, found) for part in self.parts)

    def wanted(self) -> dict[tuple[str, tuple[int, ...]], list[Any]]:
        keys: dict[tuple[str, tuple[int, ...]], list[Any]] = {}
        for part in self.parts:
            if isinstance(part, Wanted):
                keys.setdefault(part.selection, []).append(part.key)
        return keys


def _entity_text(part: Wanted, found: Mapping[tuple[str, tuple[int, ...]], Mapping[Any, str]]) -> str:
    text = found[part.selection].get(part.key)
    if text is not None:
        return text
    if part.promised_by is not None:
        raise BrokenPromise(part.promised_by)
    return "null"


def _attribute(field: GraphQLField, value: Any) -> Any:
    definition = definition_of(field)
    name = definition.python_name if definition is not None else None
    if isinstance(value, Refusal):
        if name == "user_errors":
            return value.errors
        is_promised_list = isinstance(field.type, GraphQLNonNull) and isinstance(
            field.type.of_type, GraphQLList
        )
        return [] if is_promised_list else None
    return getattr(value, str(name))


def _leaf_text(type_: GraphQLEnumType | GraphQLScalarType, value: Any) -> str:
    return orjson.dumps(type_.coerce_output_value(value)).decode()
