"""Every MUST and SHOULD that the GraphQL-over-HTTP specification has for servers, tried on a served `/graphql`.

https://graphql.github.io/graphql-over-http/draft/ as of its draft after the watershed of January 2025. The same is
asked once more by the specification's own audit, from Node; `npm ci --prefix tests/live/node` fetches it.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import orjson
import pytest

from app.graphql.requests import GRAPHQL_JSON, JSON
from tests.security.conftest import Shop, Target

HERE = Path(__file__).parents[1] / "live" / "node"
TYPENAME = {"query": "{ __typename }"}
BOTH = {"query": "query Read { __typename } mutation Write { __typename }"}
PARTIAL = {"query": '{ __typename node(id: "wrong") { id } }'}
NOTHING = {"query": '{ nodes(ids: ["wrong"]) { id } }'}
UNPARSED, UNKNOWN = {"query": "{"}, {"query": "{ 8f31403dfe404bccbb0e835f2629c6a7 }"}
UNCOERCED = {"query": "query ($id: ID!) { node(id: $id) { id } }", "variables": {"id": None}}
REFUSED = [UNPARSED, UNKNOWN, UNCOERCED, BOTH, {**BOTH, "operationName": "Neither"}]
"""Well formed, and nothing can be executed."""

ANY, ABSENT = object(), object()

NOT_JSON = [b"NONSENSE", b'{"query":', b"", b'{"query": "\xff"}']
MALFORMED = [
    [], "text", None, 7, {}, {"qeury": "{ __typename }"},
    *({"query": wrong} for wrong in (None, 7, {}, ["a"])),
    *({**TYPENAME, name: wrong} for name in ("variables", "extensions") for wrong in ("text", 0, False, ["a"])),
    *({**TYPENAME, "operationName": wrong} for wrong in (0, False, ["a"], {})),
]  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One request, and what must be so of its answer: statuses, media type, data."""

    body: Any = None
    get: dict[str, str] | None = None
    accept: str | None = GRAPHQL_JSON
    content_type: str | None = JSON
    authorised: bool = True
    status: tuple[int, ...] = (200,)
    media_type: str | None = None
    data: Any = ANY

    def made(self, client: httpx2.Client, authorization: dict[str, str]) -> Any:
        headers = dict(authorization) if self.authorised else {}
        if self.accept is not None:
            headers["accept"] = self.accept
        if self.get is not None:
            return client.get(f"/graphql?{urlencode(self.get)}", headers=headers)
        if self.content_type is not None:
            headers["content-type"] = self.content_type
        content = self.body if isinstance(self.body, bytes) else orjson.dumps(self.body)
        return client.post("/graphql", content=content, headers=headers)

    def hold(self, client: httpx2.Client, authorization: dict[str, str]) -> None:
        response = self.made(client, authorization)
        assert response.status_code in self.status, response.text
        media_type, _, parameters = response.headers["content-type"].partition(";")
        assert media_type == (self.media_type or media_type)
        assert parameters.strip() == "charset=utf-8"
        answer = response.json()
        assert set(answer) <= {"data", "errors", "extensions"}
        assert "data" in answer or answer["errors"]
        assert self.data is ANY or answer.get("data", ABSENT) == self.data, answer


READ = {"__typename": "Query"}
WRITTEN = {"__typename": "Mutation"}
BOTH_TYPES = (JSON, GRAPHQL_JSON)
BAD = (400,)

RULES: dict[str, list[Call]] = {
    "MUST NOT require different URLs for queries and mutations": [
        Call({"query": "mutation { __typename }"}, data=WRITTEN), Call(TYPENAME, data=READ),
    ],
    "SHOULD use the relevant 4xx when a client is forbidden to ask, whatever it asks": [
        Call(body, accept=accept, authorised=False, status=(401,), media_type=accept)
        for body in (TYPENAME, UNPARSED) for accept in BOTH_TYPES
    ],
    "MUST assume utf-8 where Content-Type and Accept name no encoding": [
        Call('{"query": "{ __type(name: \\"Run🏃\\") { name } }"}'.encode(), accept=accept, data={"__type": None})
        for accept in BOTH_TYPES
    ],
    "MUST accept POST requests with application/json in UTF-8": [
        Call(TYPENAME, content_type=content_type, data=READ)
        for content_type in (JSON, f"{JSON}; charset=utf-8", f"{JSON};charset=UTF-8", f'{JSON}; charset="utf-8"')
    ],
    "MUST take a query by GET from the URL, variables and extensions as JSON": [
        Call(get={"query": "{ __typename }"}, data=READ),
        Call(
            get={"query": "query ($n: String!) { __type(name: $n) { name } }", "variables": '{"n": "Order"}',
                 "extensions": '{"a": 1}'},
            data={"__type": {"name": "Order"}},
        ),
        Call(get={**TYPENAME, "variables": "{"}, status=BAD), Call(get={**TYPENAME, "extensions": "[]"}, status=BAD),
    ],
    "MUST take an empty operationName in a URL for none, and `null` for a name": [
        Call(get={**TYPENAME, "operationName": ""}, data=READ),
        Call(get={"query": "query null { __typename }", "operationName": "null"}, data=READ),
        Call(get={**TYPENAME, "operationName": "null"}, status=BAD),
    ],
    "MUST answer 405 to a mutation by GET, and not execute it": [
        Call(get=get, accept=accept, status=(405,), data=ABSENT)
        for get in ({"query": "mutation { __typename }"}, {**BOTH, "operationName": "Write"}) for accept in BOTH_TYPES
    ],
    "MUST take the query that is named by GET beside a mutation": [
        Call(get={**BOTH, "operationName": "Read"}, data=READ),
    ],
    "MUST take a null parameter for one that is not there": [
        Call({**TYPENAME, name: None}, accept=accept, data=READ)
        for name in ("variables", "operationName", "extensions") for accept in BOTH_TYPES
    ],
    "MUST take a map of variables, a map of extensions, a name": [
        Call({"query": "query A { __typename }", "operationName": "A", "variables": {"a": 1}, "extensions": {"a": 1}},
             accept=accept, data=READ)
        for accept in BOTH_TYPES
    ],
    "SHOULD refuse a POST without Content-Type by a 4xx": [Call(TYPENAME, content_type=None, status=(415,))],
    "MUST respect Accept and answer in the type of the highest priority": [
        Call(TYPENAME, accept=accept, media_type=media_type, data=READ)
        for accept, media_type in {
            JSON: JSON, GRAPHQL_JSON: GRAPHQL_JSON, f"{JSON}, {GRAPHQL_JSON}": GRAPHQL_JSON,
            f"{GRAPHQL_JSON}; charset=utf-8, {JSON}; charset=utf-8": GRAPHQL_JSON,
            f"{GRAPHQL_JSON};q=0.5, {JSON};q=0.6": JSON, f"{JSON};q=0.5, {GRAPHQL_JSON};q=0.6": GRAPHQL_JSON,
            f"text/html, {JSON};q=0.1": JSON, f"{JSON};q=0, */*": GRAPHQL_JSON, f"{GRAPHQL_JSON};q=0, */*": JSON,
            "*/*": JSON, "APPLICATION/JSON": JSON,
        }.items()
    ],
    "MUST answer 406, or as it likes, where Accept names no type that it has": [
        Call(TYPENAME, accept=accept, status=(406,)) for accept in ("text/html", "image/*", "*/*;q=0")
    ],
    "SHOULD take a missing Accept for application/graphql-response+json": [
        Call(TYPENAME, accept=None, media_type=GRAPHQL_JSON, data=READ), Call(UNPARSED, accept=None, status=BAD),
    ],
    "SHOULD apply the rules of validation before it executes": [
        Call({"query": query}, status=BAD, data=ABSENT)
        for query in (
            "{ nothing }", "{ __typename { id } }", "{ node { id } }", "{ ...F }", "query ($a: Int) { __typename }",
            "query ($a: Nothing) { node(id: $a) { id } }", "{ __typename @nothing }", "{ a: __typename a: eventHead }",
            "query A { __typename } query A { __typename }", '{ node(id: "a", id: "b") { id } }',
        )
    ],
    "SHOULD answer 200 in application/json to whatever is well formed": [
        *(Call(body, accept=JSON, media_type=JSON, data=ABSENT) for body in REFUSED),
        Call(PARTIAL, accept=JSON, data={"__typename": "Query", "node": None}),
        Call(NOTHING, accept=JSON, data=None),
    ],
    "SHOULD answer 400 to what is not well formed": [
        Call(body, accept=accept, status=BAD, media_type=accept, data=ABSENT)
        for body in (*NOT_JSON, *MALFORMED) for accept in BOTH_TYPES
    ],
    "MUST answer 2xx, SHOULD 200, where there are data": [
        Call(body, data=data)
        for body, data in ((TYPENAME, READ), (PARTIAL, {"__typename": "Query", "node": None}))
    ],
    "SHOULD answer 200 where data are null": [Call(NOTHING, data=None)],
    "MUST answer 4xx or 5xx, SHOULD 400, where nothing is executed and there are no data": [
        Call(body, status=BAD, media_type=GRAPHQL_JSON, data=ABSENT) for body in REFUSED
    ],
}  # fmt: skip


@pytest.fixture
def client(quiet: Target) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=quiet.base, timeout=30) as made:
        del made.headers["accept"]  # some requests bring none
        yield made


@pytest.mark.parametrize("rule", RULES)
def test_the_server(client: httpx2.Client, quiet: Target, shop: Shop, rule: str) -> None:
    for call in RULES[rule]:
        call.hold(client, quiet.headers(shop.callers["staff"]))


def test_a_client_that_may_not_ask_that_is_answered_403(
    client: httpx2.Client, quiet: Target, shop: Shop
) -> None:
    """SHOULD use 403, 401 or similar; under application/json 200, as for all that is well formed."""
    authorization = quiet.headers(shop.callers["guest"])
    for accept, status in {GRAPHQL_JSON: 403, JSON: 200}.items():
        response = Call({"query": "{ apiKeys { totalCount } }"}, accept=accept).made(client, authorization)
        assert (response.status_code, "data" in response.json()) == (status, False)


def test_the_audit_of_the_specification_finds_nothing(quiet: Target, shop: Shop) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not here")
    if not (HERE / "node_modules" / "graphql-http").is_dir():
        pytest.skip("the audit is not here: npm ci --prefix tests/live/node")
    token = quiet.headers(shop.callers["staff"])["authorization"].removeprefix("Bearer ")
    command = [node, "audit.mjs", f"{quiet.base}/graphql", token]
    found = subprocess.run(command, cwd=HERE, capture_output=True, check=True, timeout=60).stdout
    results = orjson.loads(found)
    assert len(results) > 60
    assert [result for result in results if result["status"] != "ok"] == []
