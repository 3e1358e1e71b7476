"""How many statements an operation takes, counted where they leave the process: at the driver."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    OperationDefinitionNode,
    OperationType,
    parse,
    print_ast,
)

from app.auth import staff
from app.http import examples
from db.reads import Reads
from tests.docs.documents import blocks_of, filled, kept_by, look_up, markdown_files
from tests.serving import Api, served

PREFIXES = {
    "channel": "chn", "order": "ord", "location": "loc", "customer": "cus", "product": "prd",
    "fulfillmentOrder": "ful", "shipment": "shp", "payment": "pay", "return": "ret", "returnLine": "rtl",
    "package": "pkg", "line": "oln",
}  # fmt: skip
OTHERS = re.compile(r"current_setting\('jit'\)|typeinfo_tree|set_config\('jit'|from access_version")
"""What the driver looks up once a connection, and the server every second: whether a token was revoked."""


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement on a connection for reads, as asyncpg saw it end."""
    seen: list[str] = []
    connect = Reads._connect

    async def counting(self: Reads) -> asyncpg.Connection[Any]:
        connection = await connect(self)
        connection.add_query_logger(
            lambda logged: None if OTHERS.search(logged.query) else seen.append(logged.query)
        )
        return connection

    monkeypatch.setattr(Reads, "_connect", counting)
    return seen


@pytest.fixture
async def api(database_url: str, statements: list[str]) -> AsyncIterator[Api]:
    async with served(database_url) as running:
        yield running


class Kept(dict[str, Any]):
    """Ids of earlier answers; for one that waits for workers, an id that finds nothing."""

    def __missing__(self, name: str) -> str:
        return f"{PREFIXES.get(name, 'ord')}_00000000-0000-7000-8000-000000000000"


def operation_of(text: str) -> OperationDefinitionNode:
    (operation,) = [node for node in parse(text).definitions if isinstance(node, OperationDefinitionNode)]
    return operation


async def test_every_ready_operation_of_graphiql_is_one_statement(api: Api, statements: list[str]) -> None:
    """In their order, each with the ids that those before it gave. A mutation's payload is read in one."""
    kept = Kept()
    counted = 0
    for example in examples():
        operation = operation_of(example.query)
        if operation.operation is OperationType.SUBSCRIPTION:
            continue
        variables = filled(json.loads(example.variables or "{}"), kept)
        statements.clear()
        answer = await api.answer(staff(), example.query, variables)
        names = [
            node.name.value for node in operation.selection_set.selections if isinstance(node, FieldNode)
        ]
        most = len(names) if operation.operation is OperationType.MUTATION else 1
        assert len(statements) <= most, (example.title, statements)
        if "errors" not in answer:
            if operation.operation is OperationType.QUERY:
                assert len(statements) == 1, (example.title, statements)
                counted += 1
            for name, path in kept_by(example.query).items():
                try:
                    kept[name] = look_up(answer["data"], path)
                except (KeyError, IndexError, TypeError):
                    continue  # waits for workers
    assert counted > 3


def documented_queries() -> list[Any]:
    found = []
    for path in markdown_files():
        for block in blocks_of(path):
            if block.language not in ("graphql", "gql"):
                continue
            document = parse(block.text)
            operations = [
                node for node in document.definitions if not isinstance(node, FragmentDefinitionNode)
            ]
            for node in operations:
                if isinstance(node, OperationDefinitionNode) and node.operation is OperationType.QUERY:
                    found.append(pytest.param(block.text, node, id=block.place))
    return found


@pytest.mark.parametrize(("text", "operation"), documented_queries())
async def test_every_query_of_the_documents_is_one_statement(
    api: Api, statements: list[str], text: str, operation: OperationDefinitionNode
) -> None:
    variables = {
        definition.variable.name.value: _some(definition.variable.name.value, print_ast(definition.type))
        for definition in operation.variable_definitions or ()
        if definition.default_value is None and print_ast(definition.type).endswith("!")
    }
    statements.clear()
    answer = await api.answer(staff(), text, variables)
    if "errors" in answer:  # an id of the wrong kind was made up: it is refused before anything is asked
        codes = {error.get("extensions", {}).get("code") for error in answer["errors"]}
        assert codes == {"BAD_USER_INPUT"}, answer
        assert statements == []
    else:
        assert len(statements) == 1


def _some(name: str, type_: str) -> Any:
    inner = type_.rstrip("!")
    if inner.startswith("["):
        return []
    match inner:
        case "ID":
            return f"{PREFIXES.get(name.removesuffix('Id'), 'ord')}_00000000-0000-7000-8000-000000000000"
        case "Int":
            return 1
        case "Boolean":
            return True
        case "DateTime":
            return "2026-01-01T00:00:00Z"
        case "String":
            return "x"
    raise AssertionError(f"a value of type {type_} is needed for ${name}")
