"""Argument values while a plan is made: what is known, and where each request finds the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from graphql import (
    FieldNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    ListValueNode,
    ObjectValueNode,
    Undefined,
    ValueNode,
    VariableNode,
)
from graphql.utilities.coerce_input_value import coerce_default_value, coerce_input_literal
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

from schema.plan.reading import PLAN
from schema.plan.sqltext import LiteralTexts

Variables = Mapping[str, Any]
Fetch = Callable[[Variables], Any]


class InputError(Exception):
    """An argument's value cannot be used; the message is for the caller. It fails the root field it is in."""


@dataclass(frozen=True, slots=True)
class Given:
    """An argument that was given: its value now, and how other requests of the same shape find theirs.

    `fetch` is None for a value that the document itself spells out.
    """

    value: Any
    fetch: Fetch | None = None
    fields: Mapping[str, Given] = field(default_factory=dict)


def given_arguments(definition: GraphQLField, node: FieldNode, variables: Variables) -> dict[str, Given]:
    """The arguments of one field that have a value, null included, by their GraphQL names."""
    written = {argument.name.value: argument.value for argument in node.arguments or ()}
    found = {}
    for name, argument in definition.args.items():
        value = _given(written[name], argument.type, variables) if name in written else None
        if value is None:
            default = coerce_default_value(argument)
            if default is not Undefined:
                value = _of_value(default, argument.type, None)
        if value is not None:
            found[name] = value
    return found


def argument_values(definition: GraphQLField, node: FieldNode, variables: Variables) -> dict[str, Any]:
    """The values of `given_arguments`, for a field that is called and not planned."""
    passed = {
        argument.name.value: variables[argument.value.name.value]
        for argument in node.arguments or ()
        if isinstance(argument.value, VariableNode) and argument.value.name.value in variables
    }
    if len(passed) == len(definition.args):
        return passed
    return {name: given.value for name, given in given_arguments(definition, node, variables).items()}


def _nullable(type_: GraphQLInputType) -> Any:
    return type_.of_type if isinstance(type_, GraphQLNonNull) else type_


def _given(node: ValueNode, type_: GraphQLInputType, variables: Variables) -> Given | None:
    if isinstance(node, VariableNode):
        name = node.name.value
        if name not in variables:
            return None
        return _of_value(variables[name], type_, lambda values: values[name])
    inner = _nullable(type_)
    if isinstance(node, ObjectValueNode) and isinstance(inner, GraphQLInputObjectType):
        return _given_object(node, inner, variables)
    if isinstance(node, ListValueNode) and isinstance(inner, GraphQLList) and _has_variable(node):
        items = [_given(item, inner.of_type, variables) or Given(None) for item in node.values]
        fetches = [item.fetch or _constant(item.value) for item in items]
        return Given([item.value for item in items], lambda values: [fetch(values) for fetch in fetches])
    return _of_value(coerce_input_literal(node, type_), type_, None)


def _given_object(node: ObjectValueNode, type_: GraphQLInputObjectType, variables: Variables) -> Given:
    written = {member.name.value: member.value for member in node.fields}
    fields = {}
    for name, definition in type_.fields.items():
        value = _given(written[name], definition.type, variables) if name in written else None
        if value is None and (default := coerce_default_value(definition)) is not Undefined:
            value = _of_value(default, definition.type, None)
        if value is not None:
            fields[name] = value
    return Given({name: value.value for name, value in fields.items()}, None, fields)


def _of_value(value: Any, type_: GraphQLInputType, fetch: Fetch | None) -> Given:
    inner = _nullable(type_)
    if not isinstance(inner, GraphQLInputObjectType) or value is None:
        return Given(value, fetch)
    fields = {
        name: _of_value(value[name], definition.type, _member(fetch, name))
        for name, definition in inner.fields.items()
        if name in value
    }
    return Given(value, fetch, fields)


def _member(fetch: Fetch | None, name: str) -> Fetch | None:
    return None if fetch is None else lambda values: fetch(values)[name]


def _constant(value: Any) -> Fetch:
    return lambda values: value


def _has_variable(node: ValueNode) -> bool:
    match node:
        case VariableNode():
            return True
        case ListValueNode():
            return any(_has_variable(item) for item in node.values)
        case ObjectValueNode():
            return any(_has_variable(member.value) for member in node.fields)
    return False


_SQL_TYPES: dict[str, Any] = {
    "String": sa.Text(),
    "ID": sa.Text(),
    "Int": sa.Integer(),
    "BigInt": sa.BigInteger(),
    "Float": sa.Double(),
    "Boolean": sa.Boolean(),
    "DateTime": TIMESTAMP(timezone=True),
    "Date": sa.Date(),
    "Decimal": sa.Numeric(),
    "UUID": sa.Uuid(),
    "JSON": JSONB(),
}


def text_value(value: str) -> str:
    """PostgreSQL's text holds no NUL."""
    if "\0" in value:
        raise InputError("A text value holds the character U+0000, which nothing stored can hold.")
    return value


def json_text(value: Any) -> str:
    """A JSON value as the driver takes it; jsonb holds no NUL either."""
    text = json.dumps(value)
    if "\\u0000" in text.replace("\\\\", ""):
        raise InputError("A JSON value holds the character U+0000, which nothing stored can hold.")
    return text


def key_of(prefix: str) -> Callable[[Any], str]:
    """From a global id with this prefix to its key: a UUID in canonical text, which the driver reads in C."""
    start = f"{prefix}_"

    def parse(value: Any) -> str:
        if isinstance(value, str) and value.startswith(start):
            key = value[len(start) :]
            if is_uuid(key):
                return key
        raise InputError(f"{str(value)[:80]!r} is not an id of the form {start}<uuid>.")

    return parse


_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)


def is_uuid(text: str) -> bool:
    """The canonical form only: one entity, one id."""
    return _UUID.fullmatch(text) is not None


def _scalar(name: str) -> tuple[Any, Callable[[Any], Any] | None]:
    if name not in _SQL_TYPES:
        raise TypeError(f"an argument of type {name} cannot be bound: tell arguments.py its SQL type")
    convert: Callable[[Any], Any] | None = None
    if name in ("String", "ID"):
        convert = text_value
    elif name == "JSON":
        convert = json_text
    return _SQL_TYPES[name], convert


def enum_text(value: Any) -> Any:
    return value.name if isinstance(value, Enum) else value


class Binder:
    """Turns given values into SQL: parameters, or literals where the plan is made for this very value.

    `inline` says that the plan's key holds the values of enums and page sizes.
    """

    def __init__(self, prefix: str, *, inline: bool) -> None:
        self._prefix = prefix
        self.inline = inline
        self.parameters: dict[str, Fetch] = {}

    def parameter(
        self, given: Given, type_: Any, convert: Callable[[Any], Any] | None = None
    ) -> sa.ColumnElement[Any]:
        """A parameter that each request fills; raises `InputError` when this request's value will not do."""
        name = f"{self._prefix}{len(self.parameters)}"
        fetch = given.fetch
        value = given.value if convert is None else convert(given.value)
        if fetch is None:
            self.parameters[name] = _constant(value)
        elif convert is None:
            self.parameters[name] = fetch
        else:
            self.parameters[name] = _converted(fetch, convert)
        return sa.bindparam(name, type_=type_)

    def bind(self, given: Given, type_: GraphQLInputType, *, prefix: str | None = None) -> Any:
        """The SQL for a value, or a namespace of them for an input object; null in it is None."""
        inner = _nullable(type_)
        if isinstance(inner, GraphQLInputObjectType):
            return self._bind_object(given, inner)
        if isinstance(inner, GraphQLList):
            return self._bind_list(given, _nullable(inner.of_type), prefix)
        if isinstance(inner, GraphQLEnumType):
            if self.inline or given.fetch is None:
                return sa.literal(enum_text(given.value), sa.Text())
            return self.parameter(given, sa.Text(), enum_text)
        if prefix is not None:
            return self.parameter(given, sa.Uuid(), key_of(prefix))
        sql_type, convert = _scalar(inner.name)
        return self.parameter(given, sql_type, convert)

    def _bind_list(self, given: Given, item: Any, prefix: str | None) -> sa.ColumnElement[Any]:
        if isinstance(item, GraphQLEnumType):
            if self.inline or given.fetch is None:
                return LiteralTexts([enum_text(value) for value in given.value])
            return self.parameter(
                given, ARRAY(sa.Text()), lambda values: [enum_text(value) for value in values]
            )
        if prefix is not None:
            parse = key_of(prefix)
            return self.parameter(given, ARRAY(sa.Uuid()), lambda values: [parse(value) for value in values])
        if not isinstance(item, GraphQLScalarType):
            raise TypeError("a list of input objects cannot be bound to a read")
        sql_type, convert = _scalar(item.name)
        if convert is None:
            return self.parameter(given, ARRAY(sql_type))
        one = convert
        return self.parameter(
            given,
            ARRAY(sql_type),
            lambda values: [None if value is None else one(value) for value in values],
        )

    def _bind_object(self, given: Given, type_: GraphQLInputObjectType) -> SimpleNamespace:
        bound = {}
        for name, definition in type_.fields.items():
            member = given.fields.get(name)
            declared = definition.extensions["strawberry-definition"]
            prefix = getattr(declared.metadata.get(PLAN), "node", None)
            present = member is not None and member.value is not None
            bound[declared.python_name] = (
                self.bind(member, definition.type, prefix=prefix) if present and member else None
            )
        return SimpleNamespace(**bound)


def _converted(fetch: Fetch, convert: Callable[[Any], Any]) -> Fetch:
    return lambda values: convert(fetch(values))
