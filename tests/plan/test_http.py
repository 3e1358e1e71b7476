"""GraphQL over HTTP: media types, methods, malformed requests, persisted documents."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from app.auth import Unauthenticated
from app.graphql.http import GraphQLEndpoint
from app.graphql.requests import GRAPHQL_JSON, JSON, PersistedDocuments
from domain.access import Principal
from tests.plan.conftest import STAFF, Shop, order_id


def authenticate(authorization: str | None) -> Principal:
    if authorization != "Bearer good":
        raise Unauthenticated("Send an Authorization header: Bearer <token>.")
    return STAFF


class Client:
    """Calls the endpoint as an ASGI server does."""

    def __init__(self, endpoint: GraphQLEndpoint) -> None:
        self._endpoint = endpoint

    async def call(
        self,
        body: bytes = b"",
        *,
        method: str = "POST",
        query_string: str = "",
        chunks: int = 1,
        **headers: str | None,
    ) -> tuple[int, dict[str, str], dict[str, Any]]:
        given: dict[str, str | None] = {
            "authorization": "Bearer good",
            "content-type": "application/json",
            "accept": GRAPHQL_JSON,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        scope = {
            "type": "http",
            "method": method,
            "query_string": query_string.encode(),
            "headers": [
                (name.encode(), value.encode()) for name, value in given.items() if value is not None
            ],
        }
        size = max(1, -(-len(body) // chunks))
        parts = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            part = parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(parts)}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._endpoint(scope, receive, send)
        answer = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        assert int(answer["content-length"]) == len(sent[1]["body"])
        return sent[0]["status"], answer, orjson.loads(sent[1]["body"])

    async def post(self, sent: Any, **headers: str | None) -> tuple[int, dict[str, str], dict[str, Any]]:
        return await self.call(orjson.dumps(sent), **headers)


@pytest.fixture
def client(shop: Shop) -> Client:
    return Client(GraphQLEndpoint(shop.executor, authenticate, body_limit_bytes=10_000))


QUERY = "query Q($id: ID!) { order(id: $id) { number } }"


async def test_a_query_is_answered_over_post_and_over_get(client: Client) -> None:
    variables = {"id": order_id(1)}
    expected = {"order": {"number": "A001"}}
    status, headers, answer = await client.post({"query": QUERY, "variables": variables})
    assert (status, answer["data"]) == (200, expected)
    assert headers["content-type"] == "application/graphql-response+json; charset=utf-8"
    assert answer["extensions"]["cost"] == {"requested": 1, "maximum": 10000, "depth": 2}
    query_string = urlencode({"query": QUERY, "variables": orjson.dumps(variables), "operationName": "Q"})
    status, _, answer = await client.call(method="GET", query_string=query_string, content_type=None)
    assert (status, answer["data"]) == (200, expected)
    body = orjson.dumps({"query": QUERY, "variables": variables})
    status, _, answer = await client.call(body, chunks=7)
    assert (status, answer["data"]) == (200, expected)


@pytest.mark.parametrize(
    ("accept", "status", "content_type"),
    [
        (None, 400, GRAPHQL_JSON),
        ("", 400, GRAPHQL_JSON),
        ("*/*", 200, JSON),
        ("text/html, */*;q=0.8", 200, JSON),
        ("application/*;q=0.1", 200, JSON),
        ("application/graphql-response+json, */*", 400, GRAPHQL_JSON),
        ("application/json;q=0, */*", 400, GRAPHQL_JSON),
        ("application/json", 200, JSON),
        ("application/json, application/graphql-response+json", 400, GRAPHQL_JSON),
        ("application/json, application/graphql-response+json;q=0.9", 200, JSON),
        ("application/graphql-response+json;q=0, */*", 200, JSON),
        ("text/html", 406, JSON),
        ("application/json;q=x", 406, JSON),
    ],
)
async def test_the_accepted_media_type_decides_the_status_of_a_refused_operation(
    client: Client, accept: str | None, status: int, content_type: str
) -> None:
    answered, headers, answer = await client.post({"query": "{ nothing }"}, accept=accept)
    assert answered == status
    assert headers["content-type"].split(";")[0] == content_type
    assert "data" not in answer
    assert answer["errors"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'"{ head }"', 400),
        (b"null", 400),
        (b'{"query": 1}', 400),
        (b'{"query": null}', 400),
        (b"{}", 400),
        (b'{"query": "{ head }", "variables": []}', 400),
        (b'{"query": "{ head }", "variables": "x"}', 400),
        (b'{"query": "{ head }", "operationName": 1}', 400),
        (b'{"query": "{ head }", "extensions": []}', 400),
        (b'{"query": "{ head }", "variables": {"a": NaN}}', 400),
        (b'{"query": "{ \xff head }"}', 400),
        (b'{"query": "{ \\ud800 head }"}', 400),
        (b'{"query": "\\u0000"}', 400),
        (b'{"query": "' + b"{a" * 3000 + b'"}', 400),
        (b'{"query": "{ head }", "variables": {"a": ' + b"[" * 4000 + b"]" * 4000 + b"}}", 400),
        (b'{"query": "query($n: Int) { orders(first: $n) { totalCount } }", "variables": {"n": '
         + b"9" * 5000 + b"}}", 400),
        (b'{"query": "{ orders(first: ' + b"9" * 5000 + b') { totalCount } }"}', 400),
        (b'{"query": "' + b" " * 10_000 + b'"}', 413),
        (b'{"query": "{' + b" head" * 1990 + b'}"}', 400),
    ],
)  # fmt: skip
async def test_what_is_malformed_is_a_client_error(client: Client, body: bytes, status: int) -> None:
    for chunks in (1, 3):
        answered, _, answer = await client.call(body, chunks=chunks)
        assert answered == status, answer
        assert answer["errors"][0]["message"]
        assert "data" not in answer


async def test_malformed_requests_are_client_errors_under_plain_json_too(client: Client) -> None:
    for body in (b"{", b"[]", b"{}"):
        assert (await client.call(body, accept=JSON))[0] == 400
    assert (await client.call(b"{}", accept=JSON, content_type="text/plain"))[0] == 415
    assert (await client.call(b"{}", accept=JSON))[0] == 400
    assert (await client.post({"query": "{ head }"}, accept=JSON, authorization=None))[0] == 401


async def test_a_large_content_length_is_refused_before_the_body_is_read(client: Client) -> None:
    status, _, _ = await client.call(b"{}", content_length="10001")
    assert status == 413


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (None, 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json; charset=latin-1", 415),
        ("application/json; charset=UTF-8", 200),
        ("Application/JSON", 200),
    ],
)
async def test_the_body_is_json_in_utf8(client: Client, content_type: str | None, status: int) -> None:
    assert (await client.post({"query": "{ head }"}, content_type=content_type))[0] == status


async def test_other_methods_and_mutations_over_get_are_not_allowed(client: Client) -> None:
    for method in ("PUT", "DELETE", "PATCH", "HEAD"):
        status, headers, _ = await client.call(b"{}", method=method)
        assert (status, headers["allow"]) == (405, "GET, POST")
    query_string = urlencode({"query": "mutation { orderRefuse { order { id } } }"})
    for accept in (GRAPHQL_JSON, JSON):
        status, headers, answer = await client.call(method="GET", query_string=query_string, accept=accept)
        assert (status, headers["allow"]) == (405, "POST")
        assert "data" not in answer


@pytest.mark.parametrize(
    "query_string",
    ["", "query=%ff", "query={head}&variables=x", "query={head}&variables=[]", "query={head}&extensions=1"],
)
async def test_a_malformed_query_string_is_a_client_error(client: Client, query_string: str) -> None:
    status, _, answer = await client.call(method="GET", query_string=query_string)
    assert status == 400
    assert answer["errors"]


async def test_a_caller_without_credentials_is_told_so(client: Client) -> None:
    status, headers, answer = await client.post({"query": "{ head }"}, authorization=None)
    assert (status, headers["www-authenticate"]) == (401, "Bearer")
    assert answer == {
        "errors": [
            {
                "message": "Send an Authorization header: Bearer <token>.",
                "extensions": {"code": "UNAUTHENTICATED"},
            }
        ]
    }


async def test_a_missing_scope_is_forbidden(shop: Shop) -> None:
    nobody = Principal(kind=STAFF.kind, account="nobody", scopes=frozenset())
    client = Client(GraphQLEndpoint(shop.executor, lambda header: nobody))
    status, _, answer = await client.post({"query": "{ head }"})
    assert (status, answer["errors"][0]["extensions"]["code"]) == (403, "FORBIDDEN")


async def test_a_persisted_query_is_sent_once_and_then_by_its_hash(client: Client) -> None:
    query = "query ($id: ID!) { order(id: $id) { status } }"
    persisted = {"persistedQuery": {"version": 1, "sha256Hash": hashlib.sha256(query.encode()).hexdigest()}}
    variables = {"id": order_id(1)}
    status, _, answer = await client.post({"extensions": persisted, "variables": variables})
    assert (status, answer["errors"][0]["message"]) == (404, "PersistedQueryNotFound")
    assert answer["errors"][0]["extensions"]["code"] == "PERSISTED_QUERY_NOT_FOUND"
    status, _, answer = await client.post({"extensions": persisted}, accept=JSON)
    assert status == 200
    for sent in ({"query": query}, {}):
        status, _, answer = await client.post({**sent, "extensions": persisted, "variables": variables})
        assert (status, answer["data"]) == (200, {"order": {"status": "SHIPPED"}})
    query_string = urlencode(
        {"extensions": orjson.dumps(persisted).decode(), "variables": orjson.dumps(variables).decode()}
    )
    status, _, answer = await client.call(method="GET", query_string=query_string)
    assert status == 200
    status, _, _ = await client.post({"query": query + " ", "extensions": persisted})
    assert status == 400
    for wrong in ({"persistedQuery": 1}, {"persistedQuery": {"version": 2, "sha256Hash": "x"}}):
        assert (await client.post({"query": query, "extensions": wrong}))[0] == 400


async def test_with_trusted_documents_nothing_else_is_executed(shop: Shop) -> None:
    documents = PersistedDocuments({"head-1": "{ head }"})
    client = Client(GraphQLEndpoint(shop.executor, authenticate, documents=documents))
    assert (await client.post({"documentId": "head-1"}))[2]["data"] == {"head": "60"}
    status, _, answer = await client.post({"query": "{ head }"})
    assert (status, answer["errors"][0]["extensions"]["code"]) == (403, "UNTRUSTED_DOCUMENT")
