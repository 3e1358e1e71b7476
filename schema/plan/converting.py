"""Arguments as the declared functions take them: input classes, Python's names.

As Strawberry's `convert_arguments` does it, with what depends on the types alone worked out
once. What is out of the ordinary is left to Strawberry.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import strawberry
from strawberry.relay.types import GlobalID
from strawberry.scalars import is_scalar
from strawberry.types.arguments import StrawberryArgument, convert_argument
from strawberry.types.base import (
    StrawberryList,
    StrawberryMaybe,
    StrawberryOptional,
    has_object_definition,
)
from strawberry.types.enum import StrawberryEnumDefinition, has_enum_definition
from strawberry.types.lazy_type import LazyType
from strawberry.types.unset import UNSET

Convert = Callable[[Any], Any]


class Converters:
    """Converts the arguments of fields of one schema."""

    def __init__(self, schema: strawberry.Schema) -> None:
        self._config = schema.config
        self._scalars = schema.schema_converter.scalar_registry
        self._inputs: dict[Any, _Input] = {}
        self._arguments: dict[
            int, tuple[list[StrawberryArgument], list[tuple[str, str, Convert | None]]]
        ] = {}

    def converted(self, arguments: list[StrawberryArgument], values: Mapping[str, Any]) -> dict[str, Any]:
        """The given values by the parameters' names."""
        kept = self._arguments.get(id(arguments))
        if kept is None:
            # The list is kept with what was made of it, so that no other can have its id.
            kept = self._arguments[id(arguments)] = (
                arguments,
                [
                    (self._config.name_converter.from_argument(one), one.python_name, self.of(one.type))
                    for one in arguments
                ],
            )
        return {
            python_name: values[name] if convert is None else convert(values[name])
            for name, python_name, convert in kept[1]
            if name in values
        }

    def of(self, type_: Any) -> Convert | None:
        """How a value of the type is converted; None for one that stays as it is."""
        if isinstance(type_, LazyType):
            return self.of(type_.resolve_type())
        if isinstance(type_, StrawberryOptional) and not isinstance(type_, StrawberryMaybe):
            return self.of(type_.of_type)
        if type_ is not GlobalID and (
            is_scalar(type_, self._scalars)
            or isinstance(type_, StrawberryEnumDefinition)
            or has_enum_definition(type_)
        ):
            return None
        if isinstance(type_, StrawberryList):
            return _unless_nothing(self._list(type_))
        if has_object_definition(type_) and type_.__strawberry_definition__.from_input is None:
            found = self._inputs.get(type_)
            if found is None:
                found = self._inputs[type_] = _Input(type_)
                found.fields = self._fields(type_)
            return _unless_nothing(found)
        return lambda value: convert_argument(value, type_, self._scalars, self._config)

    def _list(self, type_: StrawberryList) -> Convert:
        convert = self.of(type_.of_type)
        if convert is None:
            return list  # defaults are shared: what is done to the copy does not last
        return lambda values: [convert(value) for value in values]

    def _fields(self, type_: Any) -> list[tuple[str, str, Convert | None]]:
        definition = type_.__strawberry_definition__
        return [
            (
                self._config.name_converter.from_field(field),
                field.python_name,
                self.of(field.resolve_type(type_definition=definition)),
            )
            for field in definition.fields
        ]


class _Input:
    """Makes an input class of a mapping. A type may hold itself: its fields come after it is known."""

    def __init__(self, type_: Any) -> None:
        self._type = type_
        self._absent = {
            field.python_name: None
            for field in type_.__strawberry_definition__.fields
            if field.default_value is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        }
        self.fields: list[tuple[str, str, Convert | None]] = []

    def __call__(self, given: Mapping[str, Any]) -> Any:
        values: dict[str, Any] = dict(self._absent)
        for name, python_name, convert in self.fields:
            if name in given:
                value = given[name]
                values[python_name] = value if convert is None else convert(value)
        return self._type(**values)


def _unless_nothing(convert: Convert) -> Convert:
    return lambda value: value if value is None or value is UNSET else convert(value)
