"""Arguments are coerced and converted as graphql-core and Strawberry would, for every root field."""

from __future__ import annotations

import random
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    coerce_input_value,
)
from strawberry.types.arguments import convert_arguments

from resolvers.root import make_schema
from schema.plan.catalog import catalog_of
from schema.plan.converting import Converters
from schema.plan.limits import definition_of
from schema.plan.reading import Call, read_of
from schema.plan.variables import Slow, coercer

CATALOG = catalog_of(make_schema())
SCALARS: dict[str, list[Any]] = {
    "Int": [0, -1, 2**31 - 1, 2**31, 1.0, "1", True],
    "BigInt": [0, 2**53, "9007199254740993", 1.5],
    "Decimal": ["1.50", "0", "NaN", "1e3", 1, 2.5],
    "DateTime": ["2026-01-02T03:04:05Z", "2026-01-02", 7],
    "Boolean": [True, False, 1],
    "JSON": [{"a": [1, None]}, "text", None],
}
TEXTS = ["x", "", "ord_0190", "ü", 5]


def _value(chance: random.Random, type_: Any, wrong: float, depth: int = 0) -> Any:
    """A value of the type; with the probability `wrong`, at each of its parts, one that is not."""
    astray = chance.random() < wrong
    if isinstance(type_, GraphQLNonNull):
        return None if astray else _there(chance, type_.of_type, wrong, depth)
    return None if chance.random() < 0.1 else _there(chance, type_, wrong, depth)


def _there(chance: random.Random, type_: Any, wrong: float, depth: int) -> Any:
    astray = chance.random() < wrong
    if isinstance(type_, GraphQLList):
        if astray:
            return _value(chance, type_.of_type, wrong, depth + 1)
        return [_value(chance, type_.of_type, wrong, depth + 1) for _ in range(chance.randrange(3))]
    if isinstance(type_, GraphQLEnumType):
        return "NONE_SUCH" if astray else chance.choice(sorted(type_.values))
    if isinstance(type_, GraphQLInputObjectType):
        made = {
            name: _value(chance, field.type, wrong, depth + 1)
            for name, field in type_.fields.items()
            if isinstance(field.type, GraphQLNonNull) or (depth < 5 and chance.random() < 0.5)
        }
        return {**made, "noSuchField": 1} if astray else made
    values = SCALARS.get(type_.name, TEXTS)
    return chance.choice(values) if astray else values[0]


def _calls() -> list[Any]:
    root = CATALOG.schema.mutation_type
    assert root is not None
    return [
        pytest.param(field, id=name)
        for name, field in root.fields.items()
        if isinstance(read_of(definition_of(field)), Call)
    ]


@pytest.mark.parametrize("field", _calls())
def test_a_mutations_arguments_are_what_the_libraries_make_of_them(field: Any) -> None:
    chance = random.Random(7)  # noqa: S311 - which values are tried is no secret
    converters = Converters(CATALOG.strawberry)
    definition: Any = definition_of(field)
    quick, slow = 0, 0
    for _ in range(60):
        arguments: dict[str, Any] = {}
        for name, argument in field.args.items():
            sent = _value(chance, argument.type, chance.choice([0, 0, 0.02]))
            expected = coerce_input_value(sent, argument.type)
            try:
                arguments[name] = coercer(argument.type)(sent)
            except Slow:
                slow += 1  # graphql-core answers then, whatever is wrong
                break
            quick += 1
            assert repr(arguments[name]) == repr(expected)
        else:
            assert repr(converters.converted(definition.arguments, arguments)) == repr(
                convert_arguments(
                    arguments,
                    definition.arguments,
                    scalar_registry=CATALOG.strawberry.schema_converter.scalar_registry,
                    config=CATALOG.strawberry.config,
                )
            )
    assert quick > slow
