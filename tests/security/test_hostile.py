"""Hostile documents, bodies and messages: refused with a GraphQL error or the protocol's code, never with a 500."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from app.auth import customer, guest, partner
from bench.documents import HOSTILE
from domain.access import Principal
from tests.serving import Api, served
from tests.world import STAFF, make_world

SEED = 20_261_123

BODIES = {
    "NaN": b'{"query":"{__typename}","variables":{"a":NaN}}',
    "a lone surrogate": b'{"query":"{__typename}","variables":{"a":"\\ud800"}}',
    "invalid UTF-8": b'{"query":"\xff\xfe"}',
    "NUL": b'{"query":"{\x00}"}',
    "an escaped NUL": b'{"query":"query($a: ID!) { node(id: $a) { id } }","variables":{"a":"\\u0000"}}',
    "5,000 digits": b'{"query":"{__typename}","variables":{"a":' + b"9" * 5_000 + b"}}",
    "nested 100,000 deep": b'{"query":"{__typename}","variables":{"a":'
    + b"[" * 100_000
    + b"]" * 100_000
    + b"}}",
    "a list": b"[]",
    "null": b"null",
    "a text": b'"{__typename}"',
    "nothing": b"",
    "half": b'{"query":"{__ty',
    "a query that is a number": b'{"query":5}',
    "variables that are a list": b'{"query":"{__typename}","variables":[]}',
    "an operation name that is an object": b'{"query":"{__typename}","operationName":{}}',
    "extensions that are a text": b'{"query":"{__typename}","extensions":"x"}',
    "a batch": b'[{"query":"{__typename}"}]',
}


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    async with served(database_url, workers=False) as served_api:
        yield served_api


async def posted(api: Api, body: bytes, caller: Principal = STAFF) -> Any:
    return await api.http.post(
        "/graphql",
        content=body,
        headers={"authorization": f"Bearer {api.token(caller)}", "content-type": "application/json"},
    )


def looks_right(response: Any) -> None:
    """An answer or a GraphQL error; never a server error, SQL, or a stack."""
    assert response.status_code < 500, response.text[:500]
    shown = response.json()
    assert isinstance(shown.get("data", {}), dict | None)
    for error in shown.get("errors", []):
        assert isinstance(error["message"], str)
        assert error.get("extensions", {}).get("code") != "INTERNAL", error
    for betrayed in ("Traceback", "asyncpg", "sqlalchemy", "select ", "SQLSTATE"):
        assert betrayed not in response.text


@pytest.mark.parametrize("name", HOSTILE)
async def test_no_document_harms(api: Api, name: str) -> None:
    response = await posted(api, json.dumps({"query": HOSTILE[name]}).encode())
    looks_right(response)
    if name not in ("SQL", "a string of 500 KB", "a block string", "duplicate fields"):
        assert response.json().get("errors"), name
        assert "data" not in response.json() or response.json()["data"] is None


@pytest.mark.parametrize("name", BODIES)
async def test_no_body_harms(api: Api, name: str) -> None:
    response = await posted(api, BODIES[name])
    looks_right(response)
    if name != "an escaped NUL":
        assert response.status_code == 400 or name in ("a lone surrogate", "5,000 digits"), response.text[
            :200
        ]
    assert (await posted(api, b'{"query":"{__typename}"}')).json()["data"] == {"__typename": "Query"}


POST = b"POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
HEADS = {
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
    "no version": b"GET /graphql\r\n\r\n",
    "another version": b"GET /graphql HTTP/7.0\r\nhost: x\r\n\r\n",
    "a method of controls": b"G\x00T /graphql HTTP/1.1\r\nhost: x\r\n\r\n",
    "a path of controls": b"GET /gra\x01phql HTTP/1.1\r\nhost: x\r\n\r\n",
    "a path beyond ASCII": b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
    "a name of controls": b"GET /graphql HTTP/1.1\r\nh\x00st: x\r\n\r\n",
    "a folded header": b"GET /graphql HTTP/1.1\r\nhost: x\r\naccept: a\r\n b\r\n\r\n",
    "a negative length": POST + b"content-length: -1\r\n\r\n{}",
    "two lengths": POST + b"content-length: 2\r\ncontent-length: 4\r\n\r\n{}{}",
    "a length of 5,000 digits": POST + b"content-length: " + b"9" * 5_000 + b"\r\n\r\n{}",
    "a length and chunks": POST + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks of no length": POST + b"transfer-encoding: chunked\r\n\r\nxyz\r\n",
    "another coding": POST + b"transfer-encoding: gzip\r\n\r\n{}",
    "an upgrade without a key": POST + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n",
    "5,000 headers": b"GET /graphql HTTP/1.1\r\n" + b"a: b\r\n" * 5_000 + b"\r\n",
    "a head of 200 KB": b"GET /graphql HTTP/1.1\r\na: " + b"b" * 200_000 + b"\r\n\r\n",
}


async def told(api: Api, sent: bytes) -> bytes:
    """The first line of what the server answers; nothing when it closes or cuts the connection, or waits for more."""
    host, port = api.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(sent)
        async with asyncio.timeout(0.5):
            return await reader.readline()
    except (ConnectionError, TimeoutError):
        return b""
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("name", HEADS)
async def test_no_head_of_a_request_harms(api: Api, name: str) -> None:
    assert not (await told(api, HEADS[name])).startswith((b"HTTP/1.1 5", b"HTTP/1.1 2"))
    assert (await posted(api, b'{"query":"{ __typename }"}')).json()["data"] == {"__typename": "Query"}


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"GET /graphql HTTP/1.1\r\na: ", b"b" * 1_000),
        (b"GET /graphql HTTP/1.1\r\n", b"a: b\r\n" * 200),
        (b"GET /", b"b" * 1_000),
        (POST + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\na: ", b"b" * 1_000),
        (POST + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"a: b\r\n" * 200),
        (POST + b"transfer-encoding: chunked\r\n\r\n2;", b"b" * 1_000),
    ],
    ids=["a header", "headers", "a path", "a trailer", "trailers", "an extension of a chunk"],
)
async def test_a_head_or_trailer_without_end_is_cut(api: Api, begin: bytes, more: bytes) -> None:
    host, port = api.base.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(begin)
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < 5_000_000:
            writer.write(more * 20)
            sent += len(more) * 20
            await writer.drain()
    writer.transport.abort()
    assert sent < 5_000_000
    assert (await posted(api, b'{"query":"{ __typename }"}')).json()["data"] == {"__typename": "Query"}


async def test_random_bytes_on_the_port_are_refused_or_cut(api: Api) -> None:
    chance = random.Random(SEED)  # noqa: S311 - the same every time
    for _ in range(150):
        sent = bytearray(POST + b"content-length: 2\r\n\r\n{}\r\n\r\n")
        for _ in range(chance.randrange(1, 6)):
            place = chance.randrange(len(sent))
            sent[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(4))
        assert not (await told(api, bytes(sent))).startswith((b"HTTP/1.1 5", b"HTTP/1.1 2"))
    assert (await posted(api, b'{"query":"{ __typename }"}')).json()["data"] == {"__typename": "Query"}


async def test_what_is_too_large_is_413_before_it_is_read(api: Api) -> None:
    assert (await posted(api, b" " * 2_000_000)).status_code == 413


def noise(chance: random.Random) -> bytes:
    """Bytes, or JSON of every shape, or a request that is almost one."""
    kind = chance.randrange(3)
    if kind == 0:
        return chance.randbytes(chance.randrange(200))
    if kind == 1:
        return json.dumps(value(chance, 4)).encode()
    fields = ("query", "variables", "operationName", "extensions", "documentId", "id", "type", "payload")
    sent: dict[str, Any] = {name: value(chance, 3) for name in chance.sample(fields, chance.randrange(5))}
    if chance.random() < 0.5:
        sent["query"] = "".join(
            chance.choices('{}()[]:!@$." abcxyz_09\n#"orders nodes id', k=chance.randrange(80))
        )
    return json.dumps(sent).encode()


def value(chance: random.Random, depth: int) -> Any:  # noqa: PLR0911 - one a kind of JSON
    kind = chance.randrange(9 if depth else 6)
    match kind:
        case 0:
            return None
        case 1:
            return chance.choice((True, False))
        case 2:
            return chance.choice((0, -1, 2**31, 2**63, 10**30, 1.5, -1e308))
        case 3 | 4:
            return "".join(chance.choices("aZ09 {}\"'\\\u0000\u2028😀\ud7ff", k=chance.randrange(12)))
        case 5:
            return chance.choice(
                ("connection_init", "subscribe", "complete", "ping", "pong", "next", "error")
            )
        case 6 | 7:
            return [value(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {str(value(chance, 0)): value(chance, depth - 1) for _ in range(chance.randrange(4))}


async def test_random_bodies_are_answered_whoever_sends_them(api: Api, engine: Any) -> None:
    world = await make_world(engine, {"a": 5})
    order_id = await world.place(("a", 1))
    callers = (
        STAFF, partner("p", channels=(world.channel_id,)), customer(world.customer_id), guest(order_id),
    )  # fmt: skip
    chance = random.Random(SEED)  # noqa: S311 - the same every time
    for number in range(400):
        looks_right(await posted(api, noise(chance), callers[number % len(callers)]))


async def test_random_messages_close_a_socket_with_a_code_of_the_protocol_or_are_answered(api: Api) -> None:
    chance = random.Random(SEED)  # noqa: S311 - the same every time
    allowed = {4400, 4401, 4403, 4409, 4429, 1000}
    init = json.dumps({"type": "connection_init", "payload": {"authorization": f"Bearer {api.token(STAFF)}"}})
    for number in range(120):
        async with connect(api.websocket_url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
            if number % 3:
                await socket.send(init)
            try:
                for _ in range(5):
                    message = noise(chance)
                    await socket.send(
                        message if chance.random() < 0.2 else message.decode("utf-8", "replace")
                    )
                async with asyncio.timeout(0.05):
                    while True:
                        await socket.recv()
            except (ConnectionClosed, TimeoutError):
                pass
            await socket.close()
            assert socket.close_code in allowed, socket.close_code
    assert await api.data(STAFF, "{ channels { totalCount } }") == {"channels": {"totalCount": 0}}


async def test_a_bad_operation_does_not_end_the_good_ones_of_its_socket(api: Api) -> None:
    async with connect(api.websocket_url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        await socket.send(
            json.dumps(
                {"type": "connection_init", "payload": {"authorization": f"Bearer {api.token(STAFF)}"}}
            )
        )
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        for number, name in enumerate(("deep", "a cycle of fragments", "costly")):
            await socket.send(
                json.dumps({"type": "subscribe", "id": str(number), "payload": {"query": HOSTILE[name]}})
            )
            answer = json.loads(await socket.recv())
            assert (answer["type"], answer["id"]) == ("error", str(number))
        await socket.send(
            json.dumps({"type": "subscribe", "id": "good", "payload": {"query": "{ __typename }"}})
        )
        answer = json.loads(await socket.recv())
        assert answer == {
            "type": "next", "id": "good", "payload": {**answer["payload"], "data": {"__typename": "Query"}},
        }  # fmt: skip


@pytest.mark.parametrize("metadata", ["{ a: 99999999999999999999 }", "{ a: 1e999 }", "$deep"])
async def test_json_that_cannot_be_written_again_is_refused(api: Api, metadata: str) -> None:
    deep: Any = {}
    for _ in range(300):
        deep = {"a": deep}
    document = (
        f'mutation{" ($deep: JSON)" * (metadata == "$deep")} {{ locationsUpsert(inputs: [{{ code: "a", name: "a", '
        f"metadata: {metadata} }}]) {{ results {{ userErrors {{ code }} }} }} }}"
    )
    response = await posted(api, json.dumps({"query": document, "variables": {"deep": deep}}).encode())
    looks_right(response)
    assert "errors" in response.json() or '"code":"INVALID_INPUT"' in response.text


@pytest.mark.parametrize(
    ("document", "limit"),
    [
        ("{ orders { nodes { " + "id " * 51 + "} } }", "repetitions"),
        ("{ orders { nodes { " + "... { id } " * 51 + "} } }", "repetitions"),
        (
            "{ orders { nodes { " + " ".join(f"...f{n}" for n in range(101)) + " } } } "
            + " ".join(f"fragment f{n} on Order {{ id }}" for n in range(101)),
            "fragments",
        ),
    ],
)  # fmt: skip
async def test_what_validation_would_compare_pair_by_pair_is_bounded(
    api: Api, document: str, limit: str
) -> None:
    response = await posted(api, json.dumps({"query": document}).encode())
    assert [error["extensions"]["limit"] for error in response.json()["errors"]] == [limit]
