"""Every input type of the served schema, right and nearly right: a typed answer each time, and no trace of a refusal.

`OMS_TEST_SEED` gives other values, `OMS_TEST_EXAMPLES` more of them for each root field.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx2
import pytest
from graphql import (
    GraphQLInputObjectType,
    GraphQLSchema,
    build_client_schema,
    get_introspection_query,
    get_named_type,
)
from hypothesis import HealthCheck, Phase, given, seed, settings

from db.engine import asyncpg_dsn
from db.invariants import violations
from tests.conftest import outside_any_loop
from tests.security.conftest import Shop, Target
from tests.security.test_hostile import SEED, looks_right
from tests.security.values import arguments, bodies, operation

SEED = int(os.environ.get("OMS_TEST_SEED", SEED))
EXAMPLES = os.environ.get("OMS_TEST_EXAMPLES")
ALONE = {"audit_entry", "event_log", "outbox", "relay", "consumer"}
"""Tables that refusals and the relay write to: what is new in them is told apart below."""


@pytest.fixture(scope="module")
def client(quiet: Target) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=quiet.base, timeout=30) as made:
        yield made


def served_schema(client: httpx2.Client, headers: dict[str, str]) -> GraphQLSchema:
    answer = client.post("/graphql", json={"query": get_introspection_query()}, headers=headers)
    return build_client_schema(answer.json()["data"])


class Rows:
    """What is stored, by table: how many rows, and which transaction wrote last."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._statement = ""

    def __call__(self) -> dict[str, tuple[int, int]]:
        return outside_any_loop(self._counted())

    async def _counted(self) -> dict[str, tuple[int, int]]:
        connection = await asyncpg.connect(asyncpg_dsn(self._url))
        try:
            if not self._statement:
                names = [
                    row["relname"]
                    for row in await connection.fetch(
                        "select relname from pg_class "
                        "where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace"
                    )
                ]
                self._statement = " union all ".join(
                    f"select '{name}', count(*), coalesce(max(xmin::text::bigint), 0) from \"{name}\""
                    for name in names
                    if name not in ALONE
                )
            written = "(select count(*) from outbox) + (select coalesce(max(position), 0) from event_log)"
            events = f"select 'events', {written}, 0"
            return {
                row[0]: (row[1], row[2])
                for row in await connection.fetch(f"{self._statement} union all {events}")
            }
        finally:
            await connection.close()


def refused(answer: Any) -> bool:
    """Whether nothing at all of a mutation was done."""
    if answer.get("errors"):
        return True
    (payload,) = answer["data"].values()
    results = payload.get("results")
    return bool(payload["userErrors"]) or bool(results and all(result["userErrors"] for result in results))


def is_told_well(answer: Any) -> None:
    """Errors name a place in the document, in the answer, or in the request; user errors have a code and a type."""
    for error in answer.get("errors", []):
        assert error["message"]
        placed = error.get("locations") or error.get("path") or error.get("extensions", {}).get("code")
        assert placed or "error limit reached" in error["message"], error
    for payload in (answer.get("data") or {}).values():
        for error in payload.get("userErrors", []) if isinstance(payload, dict) else []:
            assert error["code"]
            assert error["message"]
            assert error["__typename"] != "UserError"


def test_every_input_type_is_reached(client: httpx2.Client, quiet: Target, shop: Shop) -> None:
    schema = served_schema(client, quiet.headers(shop.callers["staff"]))
    reached: set[str] = set()

    def reach(type_: Any) -> None:
        named = get_named_type(type_)
        if isinstance(named, GraphQLInputObjectType) and named.name not in reached:
            reached.add(named.name)
            for field in named.fields.values():
                reach(field.type)

    for root in (schema.query_type, schema.mutation_type, schema.subscription_type):
        assert root is not None
        for field in root.fields.values():
            for argument in field.args.values():
                reach(argument.type)
    assert reached == {
        name for name, type_ in schema.type_map.items() if isinstance(type_, GraphQLInputObjectType)
    }


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@pytest.mark.parametrize("kind", ["mutation", "query"])
@pytest.mark.parametrize("examples", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_no_value_harms_and_no_refusal_leaves_a_trace(
    client: httpx2.Client, quiet: Target, shop: Shop, kind: str, examples: int
) -> None:
    headers = quiet.headers(shop.callers["staff"]) | {"content-type": "application/json"}
    schema = served_schema(client, headers)
    root = schema.mutation_type if kind == "mutation" else schema.query_type
    assert root is not None
    rows = Rows(shop.url)
    before = rows()
    outcomes = {True: 0, False: 0}

    def attack(name: str) -> None:
        @seed(SEED)
        @settings(
            max_examples=int(EXAMPLES or examples), deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(bodies(operation(kind, name, root.fields[name]), arguments(shop, name, root.fields[name])))
        def one(body: bytes) -> None:
            nonlocal before
            response = client.post("/graphql", content=body, headers=headers)
            looks_right(response)
            answer = response.json()
            is_told_well(answer)
            if kind == "query":
                return
            nothing_done = refused(answer)
            outcomes[nothing_done] += 1
            before, after = rows(), before
            if nothing_done:
                changed = {table for table in after if after[table] != before[table]}
                kept = {"idempotency_key"} if '"results":[' in response.text else set()
                assert changed <= kept, answer

        one()

    faults = []
    for name in root.fields:
        try:
            attack(name)
        except Exception as fault:
            fault.add_note(name)
            faults.append(fault)
    if faults:
        raise ExceptionGroup("faults", faults)
    assert kind == "query" or all(outcomes.values()), outcomes


def test_the_books_are_right_after_all_that(shop: Shop) -> None:
    async def broken() -> list[Any]:
        connection = await asyncpg.connect(asyncpg_dsn(shop.url))
        try:
            return await violations(connection)
        finally:
            await connection.close()

    assert outside_any_loop(broken()) == []
