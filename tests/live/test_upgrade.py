"""A head that is taken over as it was parsed is answered as uvicorn answers it, and so is any other."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.live.upgrade import Upgraded
from app.settings import Settings
from app.web import HttpProtocol, configuration
from tests.live.clients import until

USUAL = {
    "Host": "oms.example",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
PROTOCOL = "Sec-WebSocket-Protocol"


def head(*more: str, line: str = "GET /graphql?a=%20b HTTP/1.1", without: str = "", **changed: str) -> bytes:
    """A request's head: the usual one with these changes; names have `_` for `-`."""
    changes = {name.replace("_", "-"): value for name, value in changed.items()}
    headers = {**USUAL, **changes}
    headers.pop(without, None)
    lines = [line, *(f"{name}: {value}" for name, value in headers.items()), *more]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


TAKEN_OVER = [
    head(),
    head(f"{PROTOCOL}: graphql-transport-ws"),
    head(f"{PROTOCOL}: other , graphql-transport-ws", "X-Caller: \xe9"),
    head(Connection="keep-alive, UPGRADE", Upgrade="WebSocket"),
    head(line="GET /refused HTTP/1.1"),
    head(line="GET /answered HTTP/1.1"),
    head(line="GET /broken HTTP/1.1"),
    head(line="GET /silent HTTP/1.1"),
    head(line="GET /a%2Fb%C3%A9 HTTP/1.1"),
    head("X-Long: " + "x" * 7_000),
]
LEFT_ALONE = [
    head(without="Sec-WebSocket-Key"),
    head(without="Sec-WebSocket-Version"),
    head(Sec_WebSocket_Key="c2hvcnQ="),
    head(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ=!"),
    head(Sec_WebSocket_Key="AAAA" * 6),
    head(Sec_WebSocket_Version="8"),
    head("Sec-WebSocket-Version: 13"),
    head("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
    head(f"{PROTOCOL}: other", f"{PROTOCOL}: graphql-transport-ws"),
    head(Upgrade="websocket, h2c"),
    head(line="POST /graphql HTTP/1.1"),
    head(line="GET /graphql HTTP/1.0"),
    head(line="GET http://oms.example/graphql HTTP/1.1"),
]
TOO_LARGE = [
    head("X-Long: " + "x" * 9_000),
    head(*(f"X-{number}: x" for number in range(130))),
    head(line=f"GET /graphql?{'x' * 9_000} HTTP/1.1"),
]


@pytest.mark.parametrize("sent", [*TAKEN_OVER, *LEFT_ALONE])
async def test_the_answer_is_that_of_uvicorn(sent: bytes) -> None:
    answers, scopes = [], []
    for protocol in (HttpToolsProtocol, HttpProtocol):
        async with _serving(protocol) as (port, seen):
            answers.append(await _answer(port, sent))
            scopes.append(seen)
    assert answers[1] == answers[0]
    assert scopes[1] == scopes[0]


@pytest.mark.parametrize(("sent", "taken_over"), [(TAKEN_OVER[0], True), (LEFT_ALONE[0], False)])
async def test_only_what_is_in_order_is_taken_over(
    monkeypatch: pytest.MonkeyPatch, sent: bytes, taken_over: bool
) -> None:
    taken: list[Any] = []
    take_over = Upgraded.take_over

    def noting(*given: Any) -> None:
        taken.append(given)
        take_over(*given)

    monkeypatch.setattr(Upgraded, "take_over", noting)
    async with _serving(HttpProtocol) as (port, _):
        await _answer(port, sent)
    assert bool(taken) is taken_over


@pytest.mark.parametrize("sent", TOO_LARGE)
async def test_a_head_that_is_too_large_is_refused(sent: bytes) -> None:
    async with _serving(HttpProtocol) as (port, seen):
        answer = await _answer(port, sent)
    assert answer[0] == b"HTTP/1.1 431 Request Header Fields Too Large"
    assert seen == []


async def _application(scope: Scope, receive: Receive, send: Send) -> None:
    """Greets by the path, and echoes."""
    await receive()
    match scope["path"]:
        case "/refused":
            await send({"type": "websocket.close", "code": 1008})
        case "/answered":
            await send({"type": "websocket.http.response.start", "status": 418, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"no"})
        case "/broken":
            raise RuntimeError("broken")
        case "/silent":
            return
        case _:
            chosen = scope["subprotocols"][-1] if scope["subprotocols"] else None
            headers = [(b"X-Request-Id", b"7")]
            await send({"type": "websocket.accept", "subprotocol": chosen, "headers": headers})
            await send({"type": "websocket.send", "text": "welcome"})
            await send({"type": "websocket.close", "code": 4403, "reason": "enough"})


@asynccontextmanager
async def _serving(http: Any) -> AsyncIterator[tuple[int, list[Any]]]:
    seen: list[Any] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(
            {name: scope[name] for name in scope if name not in ("client", "server", "headers", "state")}
        )
        seen.append(sorted(scope["headers"]))
        await _application(scope, receive, send)

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        application, lifespan="off", log_level="critical", http=http, ws="websockets-sansio",
        ws_per_message_deflate=False, date_header=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    await until(lambda: server.started)
    try:
        yield listening.getsockname()[1], seen
    finally:
        server.should_exit = True
        await running


async def _answer(port: int, sent: bytes) -> tuple[bytes, list[bytes], bytes]:
    """The status line, the headers without their order and their date, and what comes after them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(5):
        begin = await reader.readuntil(b"\r\n\r\n")
        rest = b"" if b" 101 " not in begin else await reader.readexactly(9 + 4 + len("enough"))
        if not rest:
            rest = await reader.read()
    writer.close()
    status, *headers = begin.strip().split(b"\r\n")
    return status, sorted(each.lower() for each in headers if not each.lower().startswith(b"date")), rest


def test_sockets_are_pinged_as_often_as_the_setting_says() -> None:
    made = configuration(_application, Settings(live_ping_seconds=7.5))
    assert (made.ws_ping_interval, made.ws_ping_timeout) == (7.5, 7.5)
