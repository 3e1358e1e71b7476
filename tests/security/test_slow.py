"""Clients that keep a socket and send next to nothing are cut; the others are served."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

import app.graphql.http
import app.web
from tests.serving import Api, served
from tests.world import STAFF

HEAD = "POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


@pytest.fixture
async def api(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setattr(app.web, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(app.graphql.http, "BODY_TIMEOUT_SECONDS", 0.5)
    async with served(database_url, workers=False) as served_api:
        yield served_api


@contextlib.asynccontextmanager
async def connected(api: Api) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = api.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """All that still comes, once the server has closed or cut the connection."""
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


async def test_a_socket_that_says_nothing_is_cut(api: Api) -> None:
    async with connected(api) as (reader, _):
        assert await rest(reader) == b""


async def test_a_head_that_comes_letter_by_letter_is_cut(api: Api) -> None:
    async with connected(api) as (reader, writer):

        async def drip() -> None:
            for letter in HEAD * 100:
                writer.write(letter.encode())
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert await rest(reader) == b""
        dripping.cancel()


async def test_the_head_of_a_second_request_has_no_longer(api: Api) -> None:
    async with connected(api) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.write(b"GET /healthz HTTP/1.1\r\nhost:")
        assert b"HTTP/1.1 200" not in await rest(reader)


@pytest.mark.parametrize("begin", [b"", b'{"query":'])
async def test_a_body_that_does_not_come_is_answered_408(api: Api, begin: bytes) -> None:
    async with connected(api) as (reader, writer):
        head = f"{HEAD}authorization: Bearer {api.token(STAFF)}\r\ncontent-length: 100\r\n\r\n"
        writer.write(head.encode() + begin)
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 408")


async def test_others_are_served_meanwhile(api: Api) -> None:
    async with contextlib.AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(connected(api)) for _ in range(50)]
        assert await api.data(STAFF, "{ channels { totalCount } }") == {"channels": {"totalCount": 0}}
        await asyncio.gather(*(rest(reader) for reader, _ in slow))
    assert await api.data(STAFF, "{ channels { totalCount } }") == {"channels": {"totalCount": 0}}


async def test_a_quiet_connection_between_requests_stays(api: Api) -> None:
    assert (await api.http.get("/healthz")).status_code == 200
    await asyncio.sleep(1)
    assert (await api.http.get("/healthz")).status_code == 200
