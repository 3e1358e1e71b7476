"""The served schema as a whole: complete, described, and the one in the repository."""

from __future__ import annotations

from pathlib import Path

import pytest
from graphql import GraphQLObjectType, GraphQLSchema, is_input_object_type, is_object_type

from domain.actions import (
    FULFILLMENT_ORDER_ACTIONS,
    ORDER_ACTIONS,
    PAYMENT_ACTIONS,
    RETURN_ACTIONS,
    SHIPMENT_ACTIONS,
)
from domain.errors import UserError
from resolvers.root import make_schema

SDL = Path(__file__).parents[1] / "schema" / "schema.graphql"


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return make_schema()._schema


def test_the_schema_in_the_repository_is_the_one_that_is_served() -> None:
    assert SDL.read_text().strip() == str(make_schema()).strip(), "run: oms schema > schema/schema.graphql"


def test_every_available_action_is_a_mutation(schema: GraphQLSchema) -> None:
    assert schema.mutation_type is not None
    tables = (
        *ORDER_ACTIONS,
        *PAYMENT_ACTIONS,
        *FULFILLMENT_ORDER_ACTIONS,
        *SHIPMENT_ACTIONS,
        *RETURN_ACTIONS,
    )
    assert {action.name for action in tables} <= set(schema.mutation_type.fields)


def test_every_root_field_and_every_field_of_an_entity_is_described(schema: GraphQLSchema) -> None:
    roots = (schema.query_type, schema.mutation_type, schema.subscription_type)
    shown = [
        type_
        for type_ in schema.type_map.values()
        if isinstance(type_, GraphQLObjectType)
        and (type_ in roots or any(interface.name == "Node" for interface in type_.interfaces))
    ]
    silent = [
        f"{type_.name}.{name}"
        for type_ in shown
        for name, field in type_.fields.items()
        if not field.description
    ]
    assert silent == []


def test_every_entity_and_input_is_described(schema: GraphQLSchema) -> None:
    silent = [
        name
        for name, type_ in schema.type_map.items()
        if not name.startswith("__")
        and (is_input_object_type(type_) or is_object_type(type_))
        and not type_.description
        and not name.endswith(("Edge", "Connection"))
    ]
    assert silent == []


def test_every_user_error_of_the_domain_is_a_type(schema: GraphQLSchema) -> None:
    expected = {cls.__name__ for cls in UserError.__subclasses__()}
    assert expected <= set(schema.type_map)


def test_every_payload_carries_user_errors(schema: GraphQLSchema) -> None:
    assert schema.mutation_type is not None
    for name, field in schema.mutation_type.fields.items():
        payload = schema.type_map[str(field.type).strip("!")]
        assert isinstance(payload, GraphQLObjectType)
        assert str(payload.fields["userErrors"].type) == "[UserError!]!", name
