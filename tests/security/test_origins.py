"""Sockets are for programs and for our own pages, not for any page of the web."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from tests.serving import Api, served
from tests.world import STAFF

PORTAL = "https://portal.example.com"


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    async with served(database_url, workers=False, allowed_origins=f"{PORTAL}, https://b.example.com") as api:
        yield api


async def status(api: Api, origin: str | None) -> int:
    try:
        async with connect(
            api.websocket_url,
            subprotocols=[Subprotocol("graphql-transport-ws")],
            origin=None if origin is None else Origin(origin),
        ):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


async def test_programs_our_own_pages_and_allowed_ones_may_open_sockets(api: Api) -> None:
    for origin in (None, api.base, PORTAL, "HTTPS://B.example.com"):
        assert await status(api, origin) == 101, origin


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example.com", "null", "", "file://", PORTAL + ".evil.com", PORTAL + ":8443",
        "http://portal.example.com", "http://127.0.0.1", "http://localhost:1", "http://[", "http://127.0.0.1:x",
    ],
)  # fmt: skip
async def test_pages_of_other_origins_may_not(api: Api, origin: str) -> None:
    assert await status(api, origin) == 403


async def test_no_answer_permits_other_origins_to_read_it(api: Api) -> None:
    for method in ("POST", "OPTIONS", "GET"):
        response = await api.http.request(
            method,
            "/graphql",
            headers={"origin": PORTAL, "authorization": f"Bearer {api.token(STAFF)}"},
            content=b"{}",
        )
        assert not [name for name in response.headers if name.startswith("access-control-")]
