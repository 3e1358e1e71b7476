"""What goes wrong: the answer GraphQL demands, and never more than half of one."""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson
import pytest

from domain.access import ALL_SCOPES, Scope
from tests.plan.conftest import STAFF, Shop, order_id


async def refused(shop: Shop, text: str, **variables: Any) -> list[dict[str, Any]]:
    answer = await shop.ask(text, **variables)
    assert "data" not in answer
    assert shop.reads.statements == []
    return answer["errors"]


async def test_a_mistake_in_the_document_is_worded_by_graphql_core(shop: Shop) -> None:
    [error] = await refused(shop, "{ order(id: 1) { numbr } }")
    assert error["message"] == "Cannot query field 'numbr' on type 'Order'. Did you mean 'number'?"
    assert error["locations"] == [{"line": 1, "column": 18}]
    [error] = await refused(shop, "{ order(")
    assert error["message"].startswith("Syntax Error")


async def test_a_wrong_variable_refuses_the_operation(shop: Shop) -> None:
    text = (
        "query ($id: ID!, $n: Int, $s: [Status!], $f: OrderFilter) { order(id: $id) { id } "
        "orders(first: $n, filter: {status: $s}) { totalCount } o: orders(filter: $f) { totalCount } }"
    )
    for wrong in (
        {},
        {"id": None},
        {"id": {}},
        {"id": "x", "n": "1"},
        {"id": "x", "n": 2**31},
        {"id": "x", "n": True},
        {"id": "x", "s": ["NOPE"]},
        {"id": "x", "s": [None]},
        {"id": "x", "s": [1]},
        {"id": "x", "f": {"nope": 1}},
        {"id": "x", "f": []},
        {"id": "x", "f": {"placed": {"since": "then"}}},
    ):
        errors = await refused(shop, text, **wrong)
        assert errors[0]["message"].startswith("Variable '$")
    answer = await shop.ask(text, id=12, n=1.0)
    assert answer["errors"][0]["path"] == ["order"]


async def test_a_promise_the_data_breaks_nulls_its_root_and_names_the_field(shop: Shop) -> None:
    text = "query ($id: ID!) { order(id: $id) { number broken } head }"
    assert (await shop.data(text, id=order_id(4)))["order"]["number"] == "A004"
    answer = await shop.ask(text, id=order_id(1))
    assert answer["data"] == {"order": None, "head": "60"}
    [error] = answer["errors"]
    assert error["path"] == ["order"]
    assert error["message"] == "Cannot return null for non-nullable field Order.broken."
    page = await shop.ask("{ orders(first: 100) { nodes { broken } } head }")
    assert page["data"] is None
    assert page["errors"][0]["path"] == ["orders"]


async def test_an_sql_error_belongs_to_its_root_field_and_the_others_answer(shop: Shop) -> None:
    answer = await shop.ask('{ division head order(number: "A001", channel: "web") { failing } __typename }')
    assert answer["data"] == {"division": None, "head": "60", "order": None, "__typename": "Query"}
    assert sorted(error["path"] for error in answer["errors"]) == [["division"], ["order"]]
    for error in answer["errors"]:
        assert error["extensions"]["code"] == "INTERNAL"
        assert len(error["extensions"]["correlationId"]) == 32
        assert "zero" not in orjson.dumps(answer).decode()
    alone = await shop.ask("{ division }")
    assert alone["data"] == {"division": None}
    assert len(alone["errors"]) == 1


async def test_a_missing_scope_refuses_the_whole_operation(shop: Shop) -> None:
    text = "query ($id: ID!) { order(id: $id) { person { email } } head }"
    without = dataclasses.replace(STAFF, scopes=ALL_SCOPES - {Scope.CUSTOMERS_CONTACT})
    answer = await shop.ask(text, without, id=order_id(1))
    assert answer == {
        "errors": [
            {
                "message": "Person.email needs the scope customers:contact.",
                "extensions": {"code": "FORBIDDEN"},
            }
        ]
    }
    assert shop.reads.statements == []
    nothing = dataclasses.replace(STAFF, scopes=frozenset())
    for text in (
        "{ head }",
        "{ orders { totalCount } }",
        f'{{ node(id: "{order_id(1)}") {{ id }} }}',
        "mutation { orderExplode { order { id } } }",
    ):
        answer = await shop.ask(text, nothing)
        assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert await shop.data("{ __typename }", nothing) == {"__typename": "Query"}


async def test_a_field_that_only_a_fragment_of_another_type_selects_needs_no_scope(shop: Shop) -> None:
    without = dataclasses.replace(STAFF, scopes=ALL_SCOPES - {Scope.CUSTOMERS_CONTACT})
    text = (
        "query ($id: ID!, $no: Boolean!) { node(id: $id) { id ... on Person { email } } "
        "order(id: $id) { person { email @include(if: $no) name } } }"
    )
    answer = await shop.data(text, without, id=order_id(1), no=False)
    assert answer["node"] == {"id": order_id(1)}


@pytest.mark.parametrize("name", [None, "C"])
async def test_the_operation_must_be_named_when_there_are_several(shop: Shop, name: str | None) -> None:
    answer = await shop.ask("query A { head } query B { __typename }", operation=name)
    assert "operation" in answer["errors"][0]["message"]
    answer = await shop.ask("query A { head } query B { __typename }", operation="B")
    assert answer == {"data": {"__typename": "Query"}}


async def test_a_lost_connection_is_asked_again_on_another(shop: Shop) -> None:
    assert await shop.data("{ head }") == {"head": "60"}
    async with shop.reads.connection() as connection:
        victim = connection.get_server_pid()
    async with shop.reads.connection() as first, shop.reads.connection() as second:
        other = second if first.get_server_pid() == victim else first
        await other.execute("select pg_terminate_backend($1)", victim)
    assert await shop.data("{ head }") == {"head": "60"}
